"""What can happen to a driver: killed, signalled, started twice, started again when done."""

import os
import signal
import time
from collections.abc import Callable

import pytest

from tests.faults.harness import (
    STEPS,
    Driver,
    Held,
    Runs,
    final_hashes,
    held,
    named,
    scores,
)
from trainers.storage.checkpoints import list_checkpoints
from trainers.storage.json_files import read_json, read_jsonl

Tell = Callable[[Held], None]
# Steps are short: without it a run may have ended before what happens to it at its 8th.
HELD_UP = "before_step:step=12:rank=1:sleep=4"


def test_R0_two_undisturbed_runs(runs: Runs, tell: Tell) -> None:
    runs.finish("second")
    assert final_hashes(runs.run_dir("second")) == final_hashes(runs.run_dir("undisturbed"))
    tell(held(runs, "second", kills=0))


@pytest.mark.slice
def test_driver_killed_and_then_a_worker(runs: Runs, tell: Tell) -> None:
    """The two that happen most, in one run: what `make test` tries."""
    driver = runs.start("both", failpoints=HELD_UP)
    driver.wait_for_step(8)
    driver.kill()
    runs.finish("both", failpoints="after_manifest:step=20:SIGKILL")  # long after the first
    cost = held(runs, "both", kills=2)
    assert cost.attempts == 3
    tell(cost)


def test_driver_killed(runs: Runs, tell: Tell) -> None:
    driver = runs.start("driver", failpoints=HELD_UP)
    driver.wait_for_step(8)
    driver.kill()
    assert read_json(driver.run_dir / "run.json")["status"] == "running"
    runs.finish("driver")
    tell(held(runs, "driver"))


def test_controller_killed(runs: Runs, tell: Tell) -> None:
    driver = runs.start("controller", failpoints=HELD_UP)
    driver.wait_for_step(8)
    [controller] = [p for p in driver.processes() if named(p, "TrainController")]
    controller.kill()
    driver.wait(0)
    cost = held(runs, "controller")
    assert cost.attempts == 2
    tell(cost)


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGUSR1"])
def test_a_signal_saves_the_current_step(runs: Runs, tell: Tell, name: str) -> None:
    signum = signal.Signals[name]
    driver = runs.start(name, failpoints=HELD_UP)
    driver.wait_for_step(7)
    asked = time.monotonic()
    driver.signal(signum)
    driver.wait(130 if signum == signal.SIGINT else 143)
    assert time.monotonic() - asked < 20
    driver.wait_until_nothing_is_left()
    saved = list_checkpoints(driver.run_dir / "checkpoints")[0].step
    assert saved == last_step(driver), "what was trained was not saved"
    output = driver.output()
    assert "to resume, run: python -m jobs.finetune" in output and "Traceback" not in output
    assert read_json(driver.run_dir / "run.json")["status"] == "stopped"
    runs.finish(name)
    cost = held(runs, name, kills=0)
    assert cost.redone == 0
    assert scores(driver.run_dir).keys() == scores(runs.run_dir("undisturbed")).keys()
    tell(cost)


def test_SIGINT_twice(runs: Runs, tell: Tell) -> None:
    driver = runs.start("twice", failpoints="before_step:step=8:rank=1:sleep=600")
    driver.wait_for_step(7)
    time.sleep(1)
    driver.signal(signal.SIGINT)
    time.sleep(2)
    assert driver.process.poll() is None, "the first one waits for the step"
    driver.signal(signal.SIGINT)
    driver.wait(130, limit_s=20)
    driver.wait_until_nothing_is_left()
    runs.finish("twice")
    tell(held(runs, "twice"))


def test_two_runs_with_one_name(runs: Runs, tell: Tell) -> None:
    first = runs.start("one-name", failpoints="before_step:step=8:rank=1:sleep=20")
    first.wait_for_step(7)
    second = runs.start("one-name")
    second.wait(2)
    output = second.output()
    assert f"is being written by process {first.process.pid} on " in output
    assert "heartbeat" in output and "choose another run_name" in output
    first.wait(0)
    cost = held(runs, "one-name", kills=0)
    assert cost.attempts == 1 and cost.redone == 0
    tell(cost)


def test_changed_config_under_an_old_name(runs: Runs, tell: Tell) -> None:
    driver = runs.start("changed", failpoints=HELD_UP)
    driver.wait_for_step(6)
    driver.kill()
    runs.finish("changed", "learning_rate=0.5", "seed=1", code=2)
    output = driver.output()
    assert "train.learning_rate: 0.003 -> 0.5" in output and "train.seed: 42 -> 1" in output
    runs.finish("changed")
    tell(held(runs, "changed"))


def test_a_finished_run_run_again(runs: Runs, tell: Tell) -> None:
    before = list(read_jsonl(runs.run_dir("undisturbed") / "metrics.jsonl"))
    started = time.monotonic()
    driver = runs.finish("undisturbed")
    assert "undisturbed is finished; nothing to train" in driver.output()
    assert time.monotonic() - started < 10 * max(1.0, os.getloadavg()[0] / 2)
    assert list(read_jsonl(driver.run_dir / "metrics.jsonl")) == before
    tell(held(runs, "undisturbed", kills=0))


def last_step(driver: Driver) -> int:
    step: int = list(read_jsonl(driver.run_dir / "metrics.jsonl"))[-1]["step"]
    assert 7 <= step < STEPS
    return step
