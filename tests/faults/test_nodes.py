"""Faults of nodes and clusters, on real clusters of several raylets."""

import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.faults.cluster import RayCluster, autoscaled_cluster, ray_cluster
from tests.faults.harness import Cost, Driver, Runs, verify_recovery
from trainers.storage.checkpoints import list_checkpoints
from trainers.storage.json_files import read_jsonl

RecordCost = Callable[[Cost], None]
LONG = "resource_wait_s=120"
# Workers run without the head for a while: the delay keeps them busy until its loss is detected.
DELAYED = "before_step:step=9:rank=0:sleep=60"


def on(cluster: RayCluster, runs: Runs) -> Runs:
    """The same runs with drivers that join `cluster`."""
    return Runs(runs.output_dir, {"RAY_ADDRESS": cluster.address, "RAY_AUTH_MODE": "disabled"})


@pytest.mark.parametrize("spare", [True, False], ids=["with a spare", "without a spare"])
def test_node_removed(runs: Runs, record_cost: RecordCost, spare: bool) -> None:
    name = f"node-{spare}"
    with ray_cluster(num_nodes=3 if spare else 2) as cluster:
        driver = on(cluster, runs).start(name, LONG)
        driver.wait_for_step(8)
        cluster.remove(cluster.busy()[0])
        if not spare:
            time.sleep(10)
            assert driver.process.poll() is None, "it waits for another node"
            cluster.add()
        driver.wait(0)
    cost = verify_recovery(runs, name)
    assert cost.attempts == 2
    record_cost(cost)


def test_no_node_comes(runs: Runs, record_cost: RecordCost) -> None:
    with ray_cluster(num_nodes=2) as cluster:
        driver = on(cluster, runs).start("none", "resource_wait_s=8")
        driver.wait_for_step(8)
        cluster.remove(cluster.busy()[0])
        driver.wait(2)
        # The head may still count the removed node, but none of its resources are free.
        assert "2 workers do not fit the cluster (2 CPUs requested, " in driver.output()
        assert "1 free" in driver.output()
        cluster.add()
        on(cluster, runs).finish("none")
    record_cost(verify_recovery(runs, "none"))


def test_node_drained_with_notice(runs: Runs, record_cost: RecordCost) -> None:
    with ray_cluster(num_nodes=3) as cluster:
        driver = on(cluster, runs).start("drained", LONG)
        driver.wait_for_step(7)
        index = cluster.busy()[0]
        cluster.drain(index, deadline_s=20)
        wait_for_attempts(driver, 2)
        cluster.remove(index)
        driver.wait(0)
    cost = verify_recovery(runs, "drained", kills=0)
    assert cost.redone == 0, "a notice was there, and yet work was lost"
    record_cost(cost)


def test_nodes_that_an_autoscaler_starts(
    runs: Runs, record_cost: RecordCost, tmp_path: Path
) -> None:
    """The cluster starts without workers; the result is that of a run on fixed nodes."""
    with autoscaled_cluster(tmp_path, cpus_per_node=1, max_nodes=2) as address:
        env = {"RAY_ADDRESS": address, "RAY_AUTH_MODE": "disabled"}
        there = Runs(runs.output_dir, env)
        there.finish("autoscaled", "cpus_per_worker=1", LONG)
    cost = verify_recovery(runs, "autoscaled", kills=0)
    assert cost.attempts == 1
    record_cost(cost)


def test_workers_2_1_2(runs: Runs, record_cost: RecordCost, float32: str) -> None:
    workers = ("num_workers={min: 1, max: 2}", "cpus_per_worker=1", "dtype=float32", LONG)
    with ray_cluster(num_nodes=2) as cluster:
        driver = on(cluster, runs).start(
            "elastic", *workers, failpoints=f"{DELAYED},before_step:step=13:sleep=12"
        )
        driver.wait_for_step(7)
        cluster.remove(cluster.busy()[0])
        driver.wait_for_step(12)
        cluster.add()
        driver.wait(0)
    cost = verify_recovery(runs, "elastic", same_workers=False, reference=float32)
    worlds = [len(ranks) for ranks in ranks_by_attempt(driver).values()]
    assert sorted(worlds) == [1, 2, 2], worlds
    record_cost(cost)


def test_whole_cluster_killed(runs: Runs, record_cost: RecordCost) -> None:
    with ray_cluster(num_nodes=2) as cluster:
        driver = on(cluster, runs).start("cluster", failpoints=DELAYED)
        driver.wait_for_step(8)
        driver.signal(signal.SIGSTOP)  # its machine is gone too
        cluster.kill_head_service()
    driver.kill()
    with ray_cluster(num_nodes=2) as cluster:
        on(cluster, runs).finish("cluster")
    cost = verify_recovery(runs, "cluster")
    assert cost.attempts == 2, "the first cluster finished the run"
    record_cost(cost)


def test_GCS_killed(runs: Runs, record_cost: RecordCost) -> None:
    with ray_cluster(num_nodes=2) as cluster:
        driver = on(cluster, runs).start("gcs", failpoints=DELAYED)
        driver.wait_for_step(8)
        cluster.kill_head_service()
        driver.wait(1, limit_s=90)
        output = driver.output()
        assert "no answer for 20 s" in output
        assert "to resume, run: python -m jobs.finetune" in output
    runs.finish("gcs")
    cost = verify_recovery(runs, "gcs")
    assert cost.attempts == 2
    record_cost(cost)


def wait_for_attempts(driver: Driver, num: int) -> None:
    """Wait until `num` attempts have trained."""
    deadline = time.monotonic() + 120
    while len(ranks_by_attempt(driver)) < num:
        assert time.monotonic() < deadline and driver.process.poll() is None, driver.output()
        time.sleep(0.2)
    assert list_checkpoints(driver.run_dir / "checkpoints")


def ranks_by_attempt(driver: Driver) -> dict[str, set[int]]:
    """Ranks that trained, by attempt."""
    found: dict[str, set[int]] = {}
    for path in (driver.run_dir / "ledger").glob("*.jsonl"):
        for row in read_jsonl(path):
            found.setdefault(row["attempt"], set()).add(row["rank"])
    return found
