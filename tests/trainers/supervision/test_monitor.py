"""Hang detection by a clock that the test sets, and requests for more workers."""

import time
from itertools import accumulate
from pathlib import Path
from statistics import median
from types import SimpleNamespace
from typing import Any

import pytest
import ray
from hypothesis import given
from hypothesis import strategies as st

from trainers.config.load import load_config
from trainers.process.signals import StopSignal
from trainers.supervision import monitor as monitor_module
from trainers.supervision import reporter as reporter_module
from trainers.supervision.coordinator import Coordinator, start_coordinator
from trainers.supervision.monitor import HangDetector, Monitor
from trainers.supervision.protocol import Command, WorkerStatus
from trainers.supervision.reporter import WorkerReporter
from trainers.supervision.train_run import placement_groups

ROOT = Path(__file__).resolve().parents[3]


def beat_at(detector: HangDetector, *times: float) -> None:
    """Heartbeats at these times, counted from 0."""
    detector.reset(0)
    for num, now in enumerate(times):
        detector.is_hung(num, now=now)


def test_the_limit_is_at_least_the_minimum() -> None:
    detector = HangDetector(factor=3, min_s=20)
    beat_at(detector, 1, 2, 3)
    assert detector.limit_s() == 20
    assert not detector.is_hung(2, now=23)
    assert detector.is_hung(2, now=23.01)


def test_the_limit_is_a_multiple_of_the_median_interval() -> None:
    detector = HangDetector(factor=3, min_s=20)
    beat_at(detector, 10, 20, 30, 130)  # one long evaluation does not move the median
    assert detector.limit_s() == 30
    assert not detector.is_hung(3, now=160)
    assert detector.is_hung(3, now=160.5)


def test_polling_often_is_not_a_heartbeat() -> None:
    detector = HangDetector(factor=3, min_s=5)
    beat_at(detector, 10, 20)
    assert not any(detector.is_hung(1, now=20 + tenth / 10) for tenth in range(301))
    assert detector.limit_s() == 30
    assert detector.is_hung(1, now=50.1)


def test_killed_workers_get_the_full_limit_again() -> None:
    detector = HangDetector(factor=3, min_s=8)
    beat_at(detector, 1)
    assert detector.is_hung(0, now=10)
    detector.reset(10)
    assert not detector.is_hung(0, now=18)
    assert detector.is_hung(0, now=18.5)


def test_the_median_is_over_the_last_thousand_intervals() -> None:
    detector = HangDetector(factor=2, min_s=1)
    beat_at(detector, *accumulate([1] * 1500 + [10] * 499))
    assert detector.limit_s() == 2
    beat_at(detector, *accumulate([10] * 10))
    assert detector.limit_s() == 20


@given(st.lists(st.integers(1, 1000), min_size=1, max_size=30), st.integers(2, 50))
def test_a_run_of_steady_speed_is_never_killed(gaps: list[int], factor: int) -> None:
    detector = HangDetector(factor=factor, min_s=max(gaps))
    detector.reset(0)
    for num, now in enumerate(accumulate(gaps)):
        # No heartbeat until now, then one.
        assert num == 0 or not detector.is_hung(num - 1, now=now)
        assert not detector.is_hung(num, now=now)
    assert detector.limit_s() == max(max(gaps), factor * median(gaps))


def test_an_autoscaling_cluster_is_asked_for_the_missing_workers(
    ray_local: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One of two workers trains; an actor holds the resources of the other."""
    monkeypatch.setenv("RAY_ADDRESS", "of a cluster")
    monkeypatch.setattr(monitor_module, "GROW_CHECK_S", 0)
    cpus = int(ray.cluster_resources()["CPU"])
    blocker: Any = ray.remote(num_cpus=cpus)(Coordinator).remote()
    ray.get(blocker.status.remote())
    overrides = ["num_workers={min: 1, max: 2}", f"cpus_per_worker={cpus}"]
    config, _ = load_config(ROOT / "jobs/configs/quickstart.yaml", overrides)
    coordinator, before = start_coordinator(), placement_groups()
    monitor = Monitor(config, coordinator, world_size=1, cpus=cpus, stop=StopSignal())
    try:
        monitor._cluster_checked -= 9
        monitor.check(WorkerStatus())
        [group] = placement_groups() - before
        assert monitor.reason is None, "the request waits, so that an autoscaler starts a node"
        ray.kill(blocker)
        deadline = time.monotonic() + 300
        while monitor.reason is None and time.monotonic() < deadline:
            monitor._cluster_checked -= 9
            monitor.check(WorkerStatus())
            time.sleep(0.1)
        assert monitor.reason == "resources for 1 more workers are free"
        assert ray.get(coordinator.heartbeat.remote({})) == Command.EXIT_AFTER_SAVE
        while ray.available_resources().get("CPU", 0):  # held until the attempt ends
            assert time.monotonic() < deadline
            time.sleep(0.1)
    finally:
        monitor.close()
        ray.kill(coordinator)
    assert group not in placement_groups()


def test_each_micro_batch_is_a_heartbeat(monkeypatch: pytest.MonkeyPatch) -> None:
    """A step of many micro-batches may take longer than any limit; one of them does not."""
    now = 0.0
    monkeypatch.setattr(reporter_module, "time", SimpleNamespace(monotonic=lambda: now))
    heartbeats: list[float] = []

    def report(progress: dict[str, object]) -> Command:
        heartbeats.append(now)
        return Command.CONTINUE

    reporter = WorkerReporter(report, rank=1, world_size=1)
    for _ in reporter.each(range(4)):
        now += 1.1 * reporter_module.HEARTBEAT_S
    assert heartbeats == pytest.approx([0.0, 0.55, 1.1, 1.65]), (
        "at the start, and for all but the first"
    )
