"""Faults of a driver: killed, stopped, started twice, started again after the end."""

import os
import signal
import time
from collections.abc import Callable

import pytest

from tests.faults.harness import (
    STEPS,
    Cost,
    Driver,
    Runs,
    final_hashes,
    named,
    scores,
    verify_recovery,
)
from trainers.storage.checkpoints import list_checkpoints
from trainers.storage.json_files import read_json, read_jsonl

RecordCost = Callable[[Cost], None]
# Steps are short: without the delay a run may end before the fault at its 8th step.
DELAYED = "before_step:step=12:rank=1:sleep=4"


def test_R0_two_undisturbed_runs(runs: Runs, record_cost: RecordCost) -> None:
    runs.finish("second")
    assert final_hashes(runs.run_dir("second")) == final_hashes(runs.run_dir("undisturbed"))
    record_cost(verify_recovery(runs, "second", kills=0))


@pytest.mark.slice
def test_driver_killed_and_then_a_worker(runs: Runs, record_cost: RecordCost) -> None:
    """The two most frequent faults in one run; `make test` runs this one."""
    driver = runs.start("both", failpoints=DELAYED)
    driver.wait_for_step(8)
    driver.kill()
    runs.finish("both", failpoints="after_manifest:step=20:SIGKILL")  # long after the first kill
    cost = verify_recovery(runs, "both", kills=2)
    assert cost.attempts == 3
    record_cost(cost)


def test_driver_killed(runs: Runs, record_cost: RecordCost) -> None:
    driver = runs.start("driver", failpoints=DELAYED)
    driver.wait_for_step(8)
    driver.kill()
    assert read_json(driver.run_dir / "run.json")["status"] == "running"
    runs.finish("driver")
    record_cost(verify_recovery(runs, "driver"))


def test_controller_killed(runs: Runs, record_cost: RecordCost) -> None:
    driver = runs.start("controller", failpoints=DELAYED)
    driver.wait_for_step(8)
    [controller] = [p for p in driver.processes() if named(p, "TrainController")]
    controller.kill()
    driver.wait(0)
    cost = verify_recovery(runs, "controller")
    assert cost.attempts == 2
    record_cost(cost)


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGUSR1"])
def test_a_signal_saves_the_current_step(runs: Runs, record_cost: RecordCost, name: str) -> None:
    signum = signal.Signals[name]
    driver = runs.start(name, failpoints=DELAYED)
    driver.wait_for_step(7)
    signalled_at = time.monotonic()
    driver.signal(signum)
    driver.wait(130 if signum == signal.SIGINT else 143)
    assert time.monotonic() - signalled_at < 60
    driver.wait_until_nothing_is_left()
    saved = list_checkpoints(driver.run_dir / "checkpoints")[0].step
    assert saved == last_step(driver), "a trained step was not saved"
    output = driver.output()
    assert "to resume, run: python -m jobs.finetune" in output and "Traceback" not in output
    assert read_json(driver.run_dir / "run.json")["status"] == "stopped"
    runs.finish(name)
    cost = verify_recovery(runs, name, kills=0)
    assert cost.redone == 0
    assert scores(driver.run_dir).keys() == scores(runs.run_dir("undisturbed")).keys()
    record_cost(cost)


def test_SIGINT_twice(runs: Runs, record_cost: RecordCost) -> None:
    driver = runs.start("twice", failpoints="before_step:step=8:rank=1:sleep=600")
    driver.wait_for_step(7)
    time.sleep(1)
    driver.signal(signal.SIGINT)
    time.sleep(2)
    assert driver.process.poll() is None, "the first one waits for the step"
    driver.signal(signal.SIGINT)
    driver.wait(130, limit_s=60)
    driver.wait_until_nothing_is_left()
    runs.finish("twice")
    record_cost(verify_recovery(runs, "twice"))


def test_two_runs_with_one_name(runs: Runs, record_cost: RecordCost) -> None:
    first = runs.start("one-name", failpoints="before_step:step=8:rank=1:sleep=20")
    first.wait_for_step(7)
    second = runs.start("one-name")
    second.wait(2)
    output = second.output()
    assert f"is being written by process {first.process.pid} on " in output
    assert "heartbeat" in output and "choose another run_name" in output
    first.wait(0)
    cost = verify_recovery(runs, "one-name", kills=0)
    assert cost.attempts == 1 and cost.redone == 0
    record_cost(cost)


def test_changed_config_under_an_old_name(runs: Runs, record_cost: RecordCost) -> None:
    driver = runs.start("changed", failpoints=DELAYED)
    driver.wait_for_step(6)
    driver.kill()
    runs.finish("changed", "learning_rate=0.5", "seed=1", code=2)
    output = driver.output()
    assert "train.learning_rate: 0.003 -> 0.5" in output and "train.seed: 42 -> 1" in output
    runs.finish("changed")
    record_cost(verify_recovery(runs, "changed"))


def test_a_finished_run_run_again(runs: Runs, record_cost: RecordCost) -> None:
    before = list(read_jsonl(runs.run_dir("undisturbed") / "metrics.jsonl"))
    started = time.monotonic()
    driver = runs.finish("undisturbed")
    assert "undisturbed is finished; nothing to train" in driver.output()
    assert time.monotonic() - started < 10 * max(1.0, os.getloadavg()[0] / 2)
    assert list(read_jsonl(driver.run_dir / "metrics.jsonl")) == before
    record_cost(verify_recovery(runs, "undisturbed", kills=0))


def last_step(driver: Driver) -> int:
    step: int = list(read_jsonl(driver.run_dir / "metrics.jsonl"))[-1]["step"]
    assert 7 <= step < STEPS
    return step
