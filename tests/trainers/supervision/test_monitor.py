"""How long the workers may be silent, by a clock that the test turns, and what more are asked."""

import time
from itertools import accumulate
from pathlib import Path
from statistics import median
from typing import Any

import pytest
import ray
from hypothesis import given
from hypothesis import strategies as st

from trainers.config.load import load_config
from trainers.driver import placement_groups
from trainers.process.signals import StopSignal
from trainers.supervision import monitor as guard_module
from trainers.supervision.message_board import Coordinator, WorkerStatus, start_coordinator
from trainers.supervision.monitor import HangDetector, Monitor
from trainers.supervision.orders import Command
from trainers.supervision.reporter import TELL_EVERY_S, WorkerReporter

ROOT = Path(__file__).resolve().parents[3]


def heard_at(quiet: HangDetector, *times: float) -> None:
    """A first word at 0, so that the gaps are those between the times given."""
    quiet.heard(0)
    for num, now in enumerate(times):
        quiet.too_long(num, now=now)


def test_no_less_than_the_minimum() -> None:
    quiet = HangDetector(factor=3, at_least_s=20)
    heard_at(quiet, 1, 2, 3)
    assert quiet.limit_s() == 20
    assert not quiet.too_long(2, now=23)
    assert quiet.too_long(2, now=23.01)


def test_so_many_times_the_usual() -> None:
    quiet = HangDetector(factor=3, at_least_s=20)
    heard_at(quiet, 10, 20, 30, 130)  # one long evaluation is not the usual
    assert quiet.limit_s() == 30
    assert not quiet.too_long(3, now=160)
    assert quiet.too_long(3, now=160.5)


def test_looking_often_is_not_hearing() -> None:
    quiet = HangDetector(factor=3, at_least_s=5)
    heard_at(quiet, 10, 20)
    assert not any(quiet.too_long(1, now=20 + tenth / 10) for tenth in range(301))
    assert quiet.limit_s() == 30
    assert quiet.too_long(1, now=50.1)


def test_workers_that_were_ended_are_given_time_again() -> None:
    quiet = HangDetector(factor=3, at_least_s=8)
    heard_at(quiet, 1)
    assert quiet.too_long(0, now=10)
    quiet.heard(10)
    assert not quiet.too_long(0, now=18)
    assert quiet.too_long(0, now=18.5)


def test_the_usual_is_that_of_the_last_thousand() -> None:
    quiet = HangDetector(factor=2, at_least_s=1)
    heard_at(quiet, *accumulate([1] * 1500 + [10] * 499))
    assert quiet.limit_s() == 2
    heard_at(quiet, *accumulate([10] * 10))
    assert quiet.limit_s() == 20


@given(st.lists(st.integers(1, 1000), min_size=1, max_size=30), st.integers(2, 50))
def test_a_run_as_slow_as_ever_is_never_ended(gaps: list[int], factor: int) -> None:
    quiet = HangDetector(factor=factor, at_least_s=max(gaps))
    quiet.heard(0)
    for num, now in enumerate(accumulate(gaps)):
        # Silent until now, then a word.
        assert num == 0 or not quiet.too_long(num - 1, now=now)
        assert not quiet.too_long(num, now=now)
    assert quiet.limit_s() == max(max(gaps), factor * median(gaps))


def test_a_cluster_that_may_grow_is_asked_for_the_missing_workers(
    ray_local: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One of two workers trains, and an actor has the room of the other."""
    monkeypatch.setenv("RAY_ADDRESS", "of a cluster")
    monkeypatch.setattr(guard_module, "GROW_EVERY_S", 0)
    cpus = int(ray.cluster_resources()["CPU"])
    in_the_way: Any = ray.remote(num_cpus=cpus)(Coordinator).remote()
    ray.get(in_the_way.read.remote())
    told = ["num_workers={min: 1, max: 2}", f"cpus_per_worker={cpus}"]
    config, _ = load_config(ROOT / "jobs/configs/quickstart.yaml", told)
    board, before = start_coordinator(), placement_groups()
    guard = Monitor(config, board, world_size=1, cpus=cpus, stop=StopSignal())
    try:
        guard._looked -= 9
        guard.look(WorkerStatus())
        [group] = placement_groups() - before
        assert guard.why is None, "it waits, so that an autoscaler starts a node"
        ray.kill(in_the_way)
        deadline = time.monotonic() + 30
        while guard.why is None and time.monotonic() < deadline:
            guard._looked -= 9
            guard.look(WorkerStatus())
            time.sleep(0.1)
        assert guard.why == "there is room for 1 more workers"
        assert ray.get(board.beat.remote({})) == Command.LEAVE_AFTER_SAVE
        while ray.available_resources().get("CPU", 0):  # held until the attempt ends
            assert time.monotonic() < deadline
            time.sleep(0.1)
    finally:
        guard.close()
        ray.kill(board)
    assert group not in placement_groups()


def test_a_worker_tells_of_each_micro_batch() -> None:
    """A step of many micro-batches may take longer than any limit; one of them does not."""
    told: list[float] = []

    def tell(state: dict[str, object]) -> Command:
        told.append(time.monotonic())
        return Command.GO_ON

    progress = WorkerReporter(tell, rank=1, world_size=1)
    for _ in progress.while_taking(range(4)):
        time.sleep(1.1 * TELL_EVERY_S)
    assert len(told) == 1 + 3, (
        "one at the start, and one for each but the first, which came at once"
    )
