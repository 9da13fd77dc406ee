"""What can happen to a worker: killed at every place, stopped, out of memory, a bug of its user."""

import random
import time
from collections.abc import Callable

import psutil
import pytest

from tests.faults.harness import SAVE_STEPS, Held, Runs, held, ledger
from trainers.storage.checkpoints import list_checkpoints
from trainers.storage.json_files import read_jsonl

Tell = Callable[[Held], None]
PLACES = [
    "before_step:step=8:rank=1",
    "after_step:step=8:rank=0",
    "after_shard_write:step=10",
    "before_manifest:step=10",
    "after_manifest:step=10",
    "after_rename:step=10",
    "after_record:step=10",
    "after_save:step=10:rank=1",
    "during_prune:step=10",  # deleted after the save of step 25
    "after_prune:step=20",
    "before_step:step=10:rank=1",  # the first step of the second epoch
    "during_evaluation:step=10:rank=1",
    "after_score:step=10",
    "after_manifest:step=27",
    "after_rename:step=27",
    "during_evaluation:step=27:rank=0",
]
NUM_KILLS = 20


@pytest.mark.parametrize("place", PLACES)
def test_worker_SIGKILL_at(runs: Runs, tell: Tell, place: str) -> None:
    name = "worker-" + place.replace(":", "-").replace("=", "")
    runs.finish(name, failpoints=f"{place}:SIGKILL")
    cost = held(runs, name)
    assert cost.attempts == 2 or "step=27" in place, "nothing was killed"
    tell(cost)


def test_20_random_kills_in_one_run(runs: Runs, tell: Tell) -> None:
    chance = random.Random(7)
    # Slow steps, so that the run outlasts the kills, of which some let it get to its next save.
    driver = runs.start("many", "max_failures=50", failpoints="before_step:always:sleep=0.8")
    killed = 0
    while killed < NUM_KILLS and driver.process.poll() is None:
        time.sleep(chance.uniform(0.5, 10))
        if workers := driver.workers():
            chance.choice(workers).kill()
            killed += 1
    driver.wait(0)
    assert killed == NUM_KILLS, f"the run ended after {killed} kills"
    tell(held(runs, "many", kills=NUM_KILLS))


def test_SIGSTOP_of_a_worker(runs: Runs, tell: Tell) -> None:
    limits = ("hang_min_s=8", "hang_factor=1.5")
    driver = runs.finish("stopped", *limits, failpoints="before_step:step=8:rank=1:SIGSTOP")
    tell(held(runs, "stopped"))
    stacks = "".join(path.read_text() for path in (driver.run_dir / "stacks").glob("*.txt"))
    assert "train_step" in stacks, "the worker that waited was not asked for its stacks"
    [fault] = read_jsonl(driver.run_dir / "faults.jsonl")
    assert "no heartbeat of any worker for 8 s" in fault["why"]


def test_out_of_memory(runs: Runs, tell: Tell) -> None:
    memory = psutil.virtual_memory()
    limit = (memory.total - memory.available + 3 * 2**30) / memory.total
    small = Runs(
        runs.output_dir,
        {"RAY_memory_usage_threshold": f"{limit:.3f}", "RAY_memory_monitor_refresh_ms": "100"},
    )
    driver = small.finish("memory", failpoints="before_step:step=8:rank=1:allocate", code=2)
    output = driver.output()
    assert "error: worker 1 on" in output and "lower train.max_tokens_per_micro_batch" in output
    runs.finish("memory")
    tell(held(runs, "memory"))


def test_a_user_bug_at_step_7(runs: Runs, tell: Tell) -> None:
    bug = "before_step:step=7:rank=1:always:raise"
    driver = runs.finish("bug", failpoints=bug, code=1)
    assert "worker 1 failed twice with the same exception: FailpointError" in driver.output()
    assert "Traceback" not in driver.output()
    faults = list(read_jsonl(driver.run_dir / "faults.jsonl"))
    assert len(faults) == 2 and "fail_at" in faults[1]["traceback"]
    assert [c.step for c in list_checkpoints(driver.run_dir / "checkpoints")] == [SAVE_STEPS]
    assert len({row["attempt"] for row in ledger(driver.run_dir)}) == 2
    runs.finish("bug")
    tell(held(runs, "bug", kills=2))
