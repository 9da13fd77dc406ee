"""The newest checkpoint is damaged, or the storage has no room: an older one takes over."""

import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.faults.harness import SAVE_STEPS, TRAINED, Held, Runs, held
from trainers.storage.checkpoints import list_checkpoints
from trainers.storage.json_files import read_jsonl
from trainers.storage.manifest import MANIFEST

Tell = Callable[[Held], None]
DAMAGES = ["truncated", "one bit flipped", "file missing", "empty", "wrong manifest"]


@pytest.mark.parametrize("kind", DAMAGES)
def test_newest_checkpoint(runs: Runs, tell: Tell, kind: str) -> None:
    name = "damaged-" + kind.replace(" ", "-")
    stop_after_second_save(runs, name)
    newest, older = list_checkpoints(runs.run_dir(name) / "checkpoints")
    damage(newest.path, older.path, kind)
    runs.finish(name)
    [shelf] = (runs.run_dir(name) / "quarantine").iterdir()
    assert (shelf / "REASON").read_text().strip()
    # The kill and the damage cost an interval each.
    tell(held(runs, name, kills=2))


def damage(newest: Path, older: Path, kind: str) -> None:
    weights = newest / TRAINED[0]
    content = bytearray(weights.read_bytes())
    if kind == "truncated":
        weights.write_bytes(content[:-100])
    elif kind == "one bit flipped":
        content[len(content) // 2] ^= 1
        weights.write_bytes(content)
    elif kind == "file missing":
        weights.unlink()
    elif kind == "empty":
        for path in newest.iterdir():
            path.write_bytes(b"")
    else:
        shutil.copyfile(older / MANIFEST, newest / MANIFEST)


def stop_after_second_save(runs: Runs, name: str) -> None:
    """A run whose driver is killed after step 12, with checkpoints of steps 5 and 10."""
    driver = runs.start(name, failpoints="before_step:step=13:rank=1:sleep=60")
    driver.wait_for_step(12)
    driver.kill()
    steps = [c.step for c in list_checkpoints(driver.run_dir / "checkpoints")]
    assert steps == [2 * SAVE_STEPS, SAVE_STEPS]


def test_Rays_own_index_torn(runs: Runs, tell: Tell) -> None:
    """What Ray keeps of a run is never read back: an attempt has a directory of its own."""
    stop_after_second_save(runs, "index")
    for folder in (runs.run_dir("index"), runs.run_dir("index") / "ray"):
        folder.mkdir(exist_ok=True)
        (folder / "checkpoint_manager_snapshot.json").write_text('{"torn": ')
    runs.finish("index")
    torn = runs.run_dir("index").rglob("checkpoint_manager_snapshot.json")
    assert {path.read_text() for path in torn} == {'{"torn": '}, "somebody wrote an index"
    cost = held(runs, "index")
    assert cost.attempts == 2
    tell(cost)


def test_storage_full_during_a_save(runs: Runs, tell: Tell) -> None:
    driver = runs.finish("full", failpoints="after_shard_write:step=10:enospc", code=2)
    assert "is full (OSError" in driver.output() and "free some space" in driver.output()
    store = driver.run_dir / "checkpoints"
    assert sorted(p.name.split(".")[0] for p in store.iterdir()) == ["step-000005"], "no part left"
    runs.finish("full")
    tell(held(runs, "full"))


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 160 MiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    reported = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=160m", "none", folder], capture_output=True, text=True
    )
    if reported.returncode:
        pytest.skip(f"a small file system cannot be mounted: {reported.stderr.strip()}")
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)


def test_storage_full_before_and_in_the_middle(runs: Runs, tell: Tell, small_disk: Path) -> None:
    elsewhere = f"output_dir={small_disk}"
    filler = small_disk / "filler"
    filler.write_bytes(bytes(130 * 2**20))
    driver = runs.finish("disk", elsewhere, code=2)
    assert "GiB free, the run needs about" in driver.output() or "is full" in driver.output()
    filler.unlink()
    driver = runs.start("disk", elsewhere, failpoints="before_step:step=9:rank=0:sleep=15")
    on_disk = Runs(small_disk, runs.env)
    metrics = on_disk.run_dir("disk") / "metrics.jsonl"
    while max((row["step"] for row in read_jsonl(metrics)), default=0) < 8:
        assert driver.process.poll() is None, driver.output()
    free = shutil.disk_usage(small_disk).free
    filler.write_bytes(bytes(free - 300 * 1024))
    driver.wait(2)
    assert "free some space" in driver.output()
    filler.unlink()
    runs.finish("disk", elsewhere)
    shutil.copytree(on_disk.run_dir("disk"), runs.run_dir("disk"))
    tell(held(runs, "disk"))
