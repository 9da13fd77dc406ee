"""The checkpoint store: each checkpoint complete or absent, the newest valid one wins."""

import errno
import hashlib
import json
import os
import resource
import signal
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
import torch
from safetensors.torch import load_file, save_file

from trainers.process.failpoints import FOLDER, SPECS
from trainers.storage.checkpoints import (
    damage,
    list_checkpoints,
    newest_valid,
    prune,
    save_checkpoint,
    sweep,
)
from trainers.storage.json_files import write_json
from trainers.storage.manifest import MANIFEST


def save(store: Path, step: int, attempt: str = "a") -> Path:
    def write(folder: Path) -> None:
        (folder / "weights.bin").write_bytes(bytes(range(50)) * step)
        (folder / "state.json").write_text(f'{{"step": {step}}}')

    return save_checkpoint(store, step=step, attempt=attempt, write=write).path


def start(run: Callable[[], object]) -> int:
    """Run in a child process; returns its pid."""
    child = os.fork()
    if child == 0:
        try:
            run()
            os._exit(0)
        finally:
            os._exit(1)
    return child


def in_child(run: Callable[[], object]) -> int:
    """Run in a child process; returns its exit code, or minus the signal that ended it."""
    return os.waitstatus_to_exitcode(os.waitpid(start(run), 0)[1])


def test_a_saved_checkpoint_is_whole_and_the_newest_wins(tmp_path: Path) -> None:
    store = tmp_path / "checkpoints"
    assert newest_valid(store) is None
    for step in (5, 120, 30):
        assert damage(save(store, step)) is None
    assert [c.step for c in list_checkpoints(store)] == [120, 30, 5]
    newest = newest_valid(store)
    assert newest is not None and newest.path.name == "step-000120.a"


def other_shape(path: Path) -> None:
    """Write a manifest with a correct sha256 of itself, but of another format."""
    content = {"step": 20, "attempt": "a", "files": ["weights.bin"]}
    digest = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
    text = json.dumps(content | {"sha256": digest}, indent=2, sort_keys=True)
    (path / MANIFEST).write_text(text + "\n")


FAULTS: dict[str, tuple[Callable[[Path], object], str]] = {
    "truncated": (
        lambda path: os.truncate(path / "weights.bin", 7),
        "weights.bin: size is 7, 1000",
    ),
    "changed": (
        lambda path: (path / "weights.bin").write_bytes(bytes(1000)),
        "weights.bin: sha256",
    ),
    "missing": (lambda path: (path / "weights.bin").unlink(), "weights.bin: missing"),
    "extra": (lambda path: (path / "new.bin").touch(), "new.bin: not in the manifest"),
    "no manifest": (lambda path: (path / MANIFEST).unlink(), "no manifest"),
    "empty manifest": (lambda path: os.truncate(path / MANIFEST, 0), "the manifest is empty"),
    "torn manifest": (lambda path: os.truncate(path / MANIFEST, 30), "the manifest is not JSON"),
    "list": (lambda path: (path / MANIFEST).write_text("[]"), "not of a checkpoint"),
    "other shape": (other_shape, "not of a checkpoint"),
    "wrong manifest": (
        lambda path: (path / MANIFEST).write_bytes(
            (path.parent / "step-000010.a" / MANIFEST).read_bytes()
        ),
        "weights.bin: size is 1000, 500",
    ),
    "wrong name": (
        lambda path: path.rename(path.with_name("step-000021.a")),
        "wrong manifest: it belongs to step-000020.a",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_damaged_newest_goes_to_quarantine_with_the_reason(tmp_path: Path, fault: str) -> None:
    store = tmp_path / "checkpoints"
    save(store, 10)
    harm, reason = FAULTS[fault]
    harm(save(store, 20))
    found = newest_valid(store)
    assert found is not None and found.step == 10
    (shelf,) = (tmp_path / "quarantine").iterdir()
    assert reason in (shelf / "REASON").read_text()


def test_quarantine_never_overwrites_what_is_there(tmp_path: Path) -> None:
    store = tmp_path / "checkpoints"
    for content in (b"first", b"second", b"third"):
        (save(store, 20) / "weights.bin").write_bytes(content)
        assert newest_valid(store) is None
    shelves = {p.name: p for p in (tmp_path / "quarantine").iterdir()}
    assert sorted(shelves) == ["step-000020.a", "step-000020.a.2", "step-000020.a.3"]
    assert (shelves["step-000020.a"] / "weights.bin").read_bytes() == b"first"
    assert (shelves["step-000020.a.3"] / "weights.bin").read_bytes() == b"third"


def test_a_repeated_save_keeps_the_first_unless_it_is_damaged(tmp_path: Path) -> None:
    store = tmp_path / "checkpoints"
    inode = (save(store, 7) / MANIFEST).stat().st_ino
    assert (save(store, 7) / MANIFEST).stat().st_ino == inode
    (store / "step-000007.a" / "weights.bin").write_bytes(b"harmed")
    assert damage(save(store, 7)) is None
    shelf = tmp_path / "quarantine" / "step-000007.a"
    assert (shelf / "weights.bin").read_bytes() == b"harmed"
    assert os.listdir(store) == ["step-000007.a"]


@pytest.mark.parametrize(
    ("failpoint", "is_saved"),
    [
        ("after_shard_write", False),
        ("before_manifest", False),
        ("after_manifest", False),
        ("after_rename", True),
    ],
)
def test_a_writer_killed_at_a_failpoint_leaves_all_or_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failpoint: str, is_saved: bool
) -> None:
    store = tmp_path / "checkpoints"
    monkeypatch.setenv(SPECS, f"{failpoint}:step=7:SIGKILL")
    monkeypatch.setenv(FOLDER, str(tmp_path))
    assert in_child(lambda: save(store, 7)) == -signal.SIGKILL
    assert [damage(c.path) for c in list_checkpoints(store)] == [None] * is_saved
    assert len(sweep(store)) == 1 - is_saved
    assert sorted(os.listdir(store)) == ["step-000007.a"] * is_saved
    assert damage(save(store, 7)) is None


def test_a_prune_that_is_killed_is_finished_by_the_sweep(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = tmp_path / "checkpoints"
    for step in (1, 2, 3):
        save(store, step)
    monkeypatch.setenv(SPECS, "during_prune:step=1:SIGKILL")
    monkeypatch.setenv(FOLDER, str(tmp_path))
    assert in_child(lambda: prune(store, keep=2, also=[])) == -signal.SIGKILL
    assert [c.step for c in list_checkpoints(store)] == [3, 2]
    assert len(os.listdir(store)) == 3 and len(sweep(store)) == 1
    assert sorted(os.listdir(store)) == ["step-000002.a", "step-000003.a"]


def test_a_writer_that_outlives_the_sweep_of_its_part_fails(tmp_path: Path) -> None:
    store = tmp_path / "checkpoints"

    def write(folder: Path) -> None:
        (folder / "weights.bin").write_bytes(b"x")
        assert sweep(store) == [folder.name]

    with pytest.raises(FileNotFoundError):
        save_checkpoint(store, step=7, attempt="a", write=write)
    assert os.listdir(store) == []


def plain_write(folder: Path) -> None:
    (folder / "weights.bin").write_bytes(bytes(100_000))


def tensor_write(folder: Path) -> None:
    save_file({"a": torch.zeros(25_000)}, folder / "weights.safetensors")


@pytest.mark.parametrize("write", [plain_write, tensor_write])
def test_a_failed_write_gives_its_space_back(tmp_path: Path, write: Callable[[Path], None]) -> None:
    store = tmp_path / "checkpoints"

    def save_with_a_limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))
        with pytest.raises(OSError) as caught:
            save_checkpoint(store, step=7, attempt="a", write=write)
        assert caught.value.errno == errno.EFBIG

    assert in_child(save_with_a_limit) == 0
    assert os.listdir(store) == []


def test_a_full_disk_is_reported_as_such(tmp_path: Path) -> None:
    store = tmp_path / "checkpoints"

    def write(folder: Path) -> None:
        (folder / "weights.bin").write_bytes(bytes(100))
        Path("/dev/full").write_bytes(bytes(100))

    with pytest.raises(OSError, match="No space left") as caught:
        save_checkpoint(store, step=7, attempt="a", write=write)
    assert caught.value.errno == errno.ENOSPC and os.listdir(store) == []


def test_prune_keeps_the_newest_and_the_best(tmp_path: Path) -> None:
    store = tmp_path / "checkpoints"
    for step in (1, 2, 3, 4, 5):
        save(store, step)
    save(store, 5, attempt="b")
    prune(store, keep=2, also=[1])
    assert [c.step for c in list_checkpoints(store)] == [5, 5, 4, 1]


def test_prune_counts_valid_checkpoints_only(tmp_path: Path) -> None:
    store = tmp_path / "checkpoints"
    for step in (1, 2, 3, 4, 5):
        save(store, step)
        prune(store, keep=3, also=[])
    for step in (4, 5):  # one byte: sizes and change of content only
        file = store / f"step-00000{step}.a" / "weights.bin"
        file.write_bytes(b"\xff" + file.read_bytes()[1:])
    prune(store, keep=1, also=[])
    save(store, 6)
    prune(store, keep=1, also=[])
    assert [c.step for c in list_checkpoints(store)] == [6, 5, 4, 3]
    assert [c.step for c in list_checkpoints(store) if damage(c.path) is None] == [6, 3]


def test_others_may_read_while_one_saves_and_prunes(tmp_path: Path) -> None:
    store = tmp_path / "checkpoints"

    def write_many() -> None:
        for step in range(1, 150):
            save(store, step)
            prune(store, keep=2, also=[])

    writer = start(write_many)
    seen = set()
    while (ended := os.waitpid(writer, os.WNOHANG)) == (0, 0):
        for checkpoint in list_checkpoints(store):
            if damage(checkpoint.path) is None:
                seen.add(checkpoint.step)
            else:
                assert not checkpoint.path.exists()
    assert ended[1] == 0 and len(seen) > 5


def test_500_saves_and_restores_grow_neither_memory_nor_descriptors(tmp_path: Path) -> None:
    store, process, seen = tmp_path / "checkpoints", psutil.Process(), []
    adapter = {f"layers.{i}.lora_{side}": torch.randn(16, 64) for i in range(7) for side in "AB"}
    state = {f"{m}.{n}": t.clone() for n, t in adapter.items() for m in ("exp_avg", "exp_avg_sq")}
    for step in range(1, 501):

        def write(folder: Path, step: int = step) -> None:
            save_file(adapter, folder / "adapter_model.safetensors", metadata={"format": "pt"})
            save_file(state, folder / "optimizer.safetensors")
            write_json(folder / "trainer_state.json", {"step": step})

        adapter["layers.0.lora_A"] += 1
        save_checkpoint(store, step=step, attempt="a", write=write)
        prune(store, keep=2, also=[1])
        newest = newest_valid(store)
        assert newest is not None and newest.step == step
        restored = load_file(newest.path / "adapter_model.safetensors")
        moments = load_file(newest.path / "optimizer.safetensors")
        assert restored.keys() == adapter.keys() and moments.keys() == state.keys()
        assert torch.equal(restored["layers.0.lora_A"], adapter["layers.0.lora_A"])
        if step in (100, 500):
            # Descriptors left open by earlier tests may close at any time.
            opened = [fd.resolve() for fd in Path("/proc/self/fd").iterdir()]
            num_ours = sum(path.is_relative_to(tmp_path) for path in opened)
            seen.append((num_ours, process.memory_info().rss))
    (first_fds, first_rss), (last_fds, last_rss) = seen
    assert last_fds == first_fds
    assert last_rss - first_rss < 3 * 2**20
    assert [c.step for c in list_checkpoints(store)] == [500, 499, 1]
