"""Recovery with a sharded optimizer: DeepSpeed ZeRO, stage 2."""

import importlib.util
from collections.abc import Callable

import pytest

from tests.faults.harness import Cost, Driver, Runs, final_hashes, ledger, verify_recovery
from trainers.storage.json_files import read_json

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("deepspeed") is None,
    reason="no DeepSpeed here: pip install -c constraints.txt --group zero",
)

RecordCost = Callable[[Cost], None]
ZERO = "zero_stage=2"
PLAIN = "undisturbed-zero"


@pytest.fixture(scope="module")
def sharded(runs: Runs) -> Runs:
    """The runs, with an undisturbed one under ZeRO."""
    runs.finish(PLAIN, ZERO)
    return runs


def test_R0_two_undisturbed_runs_with_zero(sharded: Runs, record_cost: RecordCost) -> None:
    sharded.finish("zero", ZERO)
    assert final_hashes(sharded.run_dir("zero")) == final_hashes(sharded.run_dir(PLAIN))
    record_cost(verify_recovery(sharded, "zero", kills=0, reference=PLAIN))


def test_worker_SIGKILL_with_zero(sharded: Runs, record_cost: RecordCost) -> None:
    sharded.finish("zero-worker", ZERO, failpoints="before_step:step=8:rank=1:SIGKILL")
    cost = verify_recovery(sharded, "zero-worker", reference=PLAIN)
    assert cost.attempts == 2, "nothing was killed"
    record_cost(cost)


def test_driver_killed_with_zero(sharded: Runs, record_cost: RecordCost) -> None:
    kill_at_step_8(sharded, "zero-driver")
    sharded.finish("zero-driver", ZERO)
    cost = verify_recovery(sharded, "zero-driver", reference=PLAIN)
    assert cost.attempts == 2
    record_cost(cost)


def test_workers_2_1_with_zero(runs: Runs, record_cost: RecordCost, float32: str) -> None:
    driver = kill_at_step_8(runs, "zero-fewer", "dtype=float32")
    runs.finish("zero-fewer", ZERO, "dtype=float32", "num_workers=1")
    cost = verify_recovery(runs, "zero-fewer", same_workers=False, reference=float32)
    by_attempt: dict[str, set[int]] = {}
    for row in ledger(driver.run_dir):
        by_attempt.setdefault(row["attempt"], set()).add(row["rank"])
    assert sorted(len(ranks) for ranks in by_attempt.values()) == [1, 2]
    record_cost(cost)


def kill_at_step_8(runs: Runs, name: str, *overrides: str) -> Driver:
    """A run of two workers whose driver was killed at step 8."""
    driver = runs.start(name, ZERO, *overrides)
    driver.wait_for_step(8)
    driver.kill()
    assert read_json(driver.run_dir / "run.json")["status"] == "running"
    return driver
