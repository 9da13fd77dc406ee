"""Faults of the object store of a run, over real HTTP."""

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.faults.cluster import ray_cluster
from tests.faults.harness import SAVE_STEPS, Cost, Runs, verify_recovery
from tests.servers.fault_proxy import Rule
from tests.servers.object_stores import Bucket, new_bucket, s3_server
from trainers.run.records import DRIVER_FILES, WORKER_FILES
from trainers.storage.checkpoints import damage
from trainers.storage.mirror import Mirror

RecordCost = Callable[[Cost], None]


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """An S3 server."""
    with s3_server() as url:
        if not url.startswith("http"):
            pytest.skip(url)
        yield url


@pytest.fixture
def bucket(server: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bucket]:
    """An empty bucket behind a fault proxy."""
    made = new_bucket("s3", server)
    for key, value in made.environ.items():
        monkeypatch.setenv(key, value)
    yield made
    made.proxy.close()


def machine(runs: Runs, bucket: Bucket, disk: Path) -> Runs:
    """The same runs on a machine with this disk, which shares only the bucket with others."""
    return Runs(runs.output_dir, {**bucket.environ, "XDG_CACHE_HOME": str(disk)})


def fetch(runs: Runs, bucket: Bucket, name: str) -> None:
    """Pull a run from the bucket to where `verify_recovery` reads it, and nothing else."""
    bucket.proxy.clear()
    mirror = Mirror(bucket.storage(f"runs/{name}"), runs.run_dir(name))
    mirror.pull_records((*DRIVER_FILES, *WORKER_FILES, "ledger/"))
    assert mirror.newest_checkpoint() is not None


def test_storage_throws_429_503_reset_then_403(
    runs: Runs, record_cost: RecordCost, bucket: Bucket, tmp_path: Path
) -> None:
    where = f"output_dir={bucket.url}/runs"
    again = {"Retry-After": "0"}
    broken = [Rule(429, every=7, headers=again), Rule(503, every=11), Rule("reset", every=13)]
    bucket.proxy.rules = broken
    driver = machine(runs, bucket, tmp_path / "a").start("s3", where)
    wait_for_checkpoint(bucket, "s3", SAVE_STEPS)
    assert bucket.proxy.broken > 5
    bucket.proxy.rules = [Rule(403)]
    driver.wait(2, limit_s=240)
    output = driver.output()
    assert (
        "error: " in output
        and "403" in output
        and bucket.url in output
        and "AWS_ACCESS_KEY" in output
    )
    assert "Traceback" not in output
    bucket.proxy.clear()
    bucket.proxy.rules = broken
    machine(runs, bucket, tmp_path / "b").finish("s3", where)
    fetch(runs, bucket, "s3")
    # Another machine has only what was uploaded: the interval in flight is repeated too.
    record_cost(verify_recovery(runs, "s3", kills=2))


def test_slow_upload_and_kill_while_a_reader_polls(
    runs: Runs, record_cost: RecordCost, bucket: Bucket, tmp_path: Path
) -> None:
    where = f"output_dir={bucket.url}/runs"
    bucket.proxy.rules = [Rule("slow", match="/checkpoints/", delay_s=0.5)]
    reader = Reader(bucket, tmp_path / "reader")
    here = machine(runs, bucket, tmp_path / "disk")
    driver = here.start("slow", where)
    wait_for_checkpoint(bucket, "slow", SAVE_STEPS)
    deadline = time.monotonic() + 60
    while not [c for c in bucket.proxy.calls if "PUT" in c and "step-000010" in c]:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    driver.kill()
    here.finish("slow", where)
    reader.stop()
    assert len(reader.seen) >= 3, "the reader saw no checkpoint come"
    fetch(runs, bucket, "slow")
    record_cost(verify_recovery(runs, "slow"))


def test_node_removed_where_no_disk_is_shared(
    runs: Runs,
    record_cost: RecordCost,
    bucket: Bucket,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with ray_cluster(num_nodes=0) as cluster:
        for number in range(3):
            monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / f"node{number}"))
            cluster.add()
        joined = {"RAY_ADDRESS": cluster.address, "RAY_AUTH_MODE": "disabled"}
        here = machine(runs, bucket, tmp_path / "head")
        driver = Runs(here.output_dir, {**here.env, **joined}).start(
            "apart", f"output_dir={bucket.url}/runs", "resource_wait_s=120"
        )
        wait_for_checkpoint(bucket, "apart", SAVE_STEPS)
        cluster.remove(cluster.busy()[0])
        driver.wait(0)
    fetch(runs, bucket, "apart")
    record_cost(verify_recovery(runs, "apart", kills=2))


class Reader:
    """Pulls each checkpoint as soon as it is listed and checks that it is complete."""

    def __init__(self, bucket: Bucket, folder: Path) -> None:
        self._mirror = Mirror(bucket.storage("runs/slow"), folder)
        self._stop, self.seen = threading.Event(), set[str]()
        self._faults: list[str] = []
        self._thread = threading.Thread(target=self._poll)
        self._thread.start()

    def stop(self) -> None:
        """Stop, and return the incomplete checkpoints."""
        self._stop.set()
        self._thread.join()
        assert not self._faults, self._faults

    def _poll(self) -> None:
        while not self._stop.wait(0.2):
            for name in self._mirror.checkpoint_names():
                if name not in self.seen:
                    self._take(name)

    def _take(self, name: str) -> None:
        try:
            path = self._mirror.pull_checkpoint(name)
        except FileNotFoundError:  # pruned since it was listed
            return
        self.seen.add(name)
        if reason := damage(path):
            self._faults.append(f"{name}: {reason}")


def wait_for_checkpoint(bucket: Bucket, name: str, step: int) -> None:
    """Wait until the bucket has a complete checkpoint of a step."""
    mirror = Mirror(bucket.storage(f"runs/{name}"), Path("/nowhere"))
    deadline = time.monotonic() + 240
    while not [n for n in mirror.checkpoint_names() if n.startswith(f"step-{step:06d}")]:
        assert time.monotonic() < deadline, "no checkpoint came"
        time.sleep(0.2)
