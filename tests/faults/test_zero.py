"""The same promise where each worker holds a part of the optimizer: DeepSpeed's ZeRO, stage 2."""

import importlib.util
from collections.abc import Callable

import pytest

from tests.faults.harness import Driver, Held, Runs, final_hashes, held, ledger
from trainers.storage.json_files import read_json

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("deepspeed") is None,
    reason="no DeepSpeed here: pip install -c constraints.txt --group zero",
)

Tell = Callable[[Held], None]
ZERO = "zero_stage=2"
PLAIN = "undisturbed-zero"


@pytest.fixture(scope="module")
def parted(runs: Runs) -> Runs:
    """The runs, with one under ZeRO to its end without a fault."""
    runs.finish(PLAIN, ZERO)
    return runs


def test_R0_two_undisturbed_runs_with_zero(parted: Runs, tell: Tell) -> None:
    parted.finish("zero", ZERO)
    assert final_hashes(parted.run_dir("zero")) == final_hashes(parted.run_dir(PLAIN))
    tell(held(parted, "zero", kills=0, reference=PLAIN))


def test_worker_SIGKILL_with_zero(parted: Runs, tell: Tell) -> None:
    parted.finish("zero-worker", ZERO, failpoints="before_step:step=8:rank=1:SIGKILL")
    cost = held(parted, "zero-worker", reference=PLAIN)
    assert cost.attempts == 2, "nothing was killed"
    tell(cost)


def test_driver_killed_with_zero(parted: Runs, tell: Tell) -> None:
    kill_at_step_8(parted, "zero-driver")
    parted.finish("zero-driver", ZERO)
    cost = held(parted, "zero-driver", reference=PLAIN)
    assert cost.attempts == 2
    tell(cost)


def test_workers_2_1_with_zero(runs: Runs, tell: Tell, float32: str) -> None:
    driver = kill_at_step_8(runs, "zero-fewer", "dtype=float32")
    runs.finish("zero-fewer", ZERO, "dtype=float32", "num_workers=1")
    cost = held(runs, "zero-fewer", same_workers=False, reference=float32)
    by_attempt: dict[str, set[int]] = {}
    for row in ledger(driver.run_dir):
        by_attempt.setdefault(row["attempt"], set()).add(row["rank"])
    assert sorted(len(ranks) for ranks in by_attempt.values()) == [1, 2]
    tell(cost)


def kill_at_step_8(runs: Runs, name: str, *overrides: str) -> Driver:
    """A run of two workers whose driver was killed there."""
    driver = runs.start(name, ZERO, *overrides)
    driver.wait_for_step(8)
    driver.kill()
    assert read_json(driver.run_dir / "run.json")["status"] == "running"
    return driver
