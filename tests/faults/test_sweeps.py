"""Faults of a sweep: its driver killed, a trial's process killed, a node removed."""

import random
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from tests.faults.cluster import ray_cluster
from tests.faults.harness import Cost, named
from tests.faults.sweeps import Sweeps, board, same_board, wait_for_legs
from trainers.storage.json_files import read_json

RecordCost = Callable[[Cost], None]


@pytest.fixture(scope="module")
def sweeps(tmp_path_factory: pytest.TempPathFactory, pocket: Path) -> Iterator[Sweeps]:
    """Sweeps on a local Ray without dashboard, with one undisturbed sweep."""
    created = Sweeps.create(tmp_path_factory.mktemp("sweeps"))
    created.finish("undisturbed")
    yield created


def test_sweep_driver_killed_three_times(sweeps: Sweeps, record_cost: RecordCost) -> None:
    rng = random.Random(7)
    for legs in (0, 2, 5):
        driver = sweeps.start("killed")
        wait_for_legs(driver, legs)
        time.sleep(rng.uniform(0, 4))
        if driver.process.poll() is None:
            driver.kill()  # and start the next one immediately, while remains of this one still run
    sweeps.finish("killed")
    redone = same_board(sweeps, "killed", kills=3)
    assert board(sweeps.run_dir("killed")) == board(sweeps.run_dir("undisturbed"))
    record_cost(Cost(redone, 4))


def test_sweep_trial_killed(sweeps: Sweeps, record_cost: RecordCost) -> None:
    driver = sweeps.start("trial")
    wait_for_legs(driver, 1)
    actors: list[psutil.Process] = []
    while not actors:
        actors = [p for p in driver.processes() if named(p, "ImplicitFunc")]
        time.sleep(0.1)
    actors[0].kill()
    driver.wait(0)
    redone = same_board(sweeps, "trial", kills=1)
    assert board(sweeps.run_dir("trial")) == board(sweeps.run_dir("undisturbed"))
    record_cost(Cost(redone, 1))


def test_sweep_node_removed(sweeps: Sweeps, record_cost: RecordCost) -> None:
    with ray_cluster(num_nodes=2) as cluster:
        there = Sweeps(
            sweeps.output_dir, {"RAY_ADDRESS": cluster.address, "RAY_AUTH_MODE": "disabled"}
        )
        driver = there.start("node", "max_concurrent_trials=2")
        wait_for_legs(driver, 2)
        cluster.remove(1)
        driver.wait(0)
        free_at_the_end(cluster.address)
    redone = same_board(sweeps, "node", kills=1)
    assert board(sweeps.run_dir("node")) == board(sweeps.run_dir("undisturbed"))
    record_cost(Cost(redone, 1))


def test_sweep_signal_saves_and_the_same_command_resumes(
    sweeps: Sweeps, record_cost: RecordCost
) -> None:
    import signal

    driver = sweeps.start("signal")
    wait_for_legs(driver, 2)
    driver.signal(signal.SIGTERM)
    driver.wait(143)
    assert "to resume, run: python -m jobs.sweep" in driver.output()
    assert read_json(driver.run_dir / "run.json")["status"] == "stopped"
    driver.wait_until_nothing_is_left(limit_s=30)
    sweeps.finish("signal")
    assert same_board(sweeps, "signal", kills=0) == 0
    record_cost(Cost(0, 2))


def test_sweep_of_two_workers_a_trial(sweeps: Sweeps, record_cost: RecordCost) -> None:
    """Nested Ray Train without dashboard: exit 0, and all resources are free."""
    small = ("num_workers=2", "cpus_per_worker=1", "sweep.learning_rate=[3e-3, 1e-5]")
    sweeps.finish("nested", *small, "sweep.num_train_epochs=[1, 2]", "dtype=float32")
    result = board(sweeps.run_dir("nested"))
    assert {row["state"] for row in result["trials"]} <= {"finished", "stopped"}
    record_cost(Cost(0, 1))


def free_at_the_end(address: str) -> None:
    """Wait until the sweep holds no resources of its cluster."""
    import ray

    ray.init(address=address, log_to_driver=False)
    try:
        deadline = time.monotonic() + 120
        while True:
            free, total = ray.available_resources(), ray.cluster_resources()
            if free.get("CPU") == total.get("CPU"):
                return
            assert time.monotonic() < deadline, (free, total)
            time.sleep(0.5)
    finally:
        ray.shutdown()
