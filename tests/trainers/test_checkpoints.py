"""The checkpoint store: whole or not there, the newest valid one wins."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trainers.checkpoints import (
    MANIFEST,
    damage,
    list_checkpoints,
    newest_valid,
    prune,
    save_checkpoint,
)


def save(store: Path, step: int, attempt: str = "a") -> Path:
    def write(folder: Path) -> None:
        (folder / "weights.bin").write_bytes(bytes(range(50)) * step)
        (folder / "state.json").write_text(f'{{"step": {step}}}')

    return save_checkpoint(store, step=step, attempt=attempt, write=write).path


def test_a_saved_checkpoint_is_whole_and_the_newest_wins(tmp_path: Path) -> None:
    store = tmp_path / "checkpoints"
    assert newest_valid(store) is None
    for step in (5, 120, 30):
        assert damage(save(store, step)) is None
    assert [c.step for c in list_checkpoints(store)] == [120, 30, 5]
    newest = newest_valid(store)
    assert newest is not None and newest.path.name == "step-000120.a"


@given(
    where=st.floats(0, 0.999),
    flip=st.integers(1, 255),
    name=st.sampled_from(["weights.bin", "state.json", MANIFEST]),
)
@settings(max_examples=40, deadline=None)
def test_any_changed_byte_is_caught(
    tmp_path_factory: pytest.TempPathFactory, where: float, flip: int, name: str
) -> None:
    path = save(tmp_path_factory.mktemp("c") / "checkpoints", 3)
    content = bytearray((path / name).read_bytes())
    content[int(where * len(content))] ^= flip
    (path / name).write_bytes(content)
    # A manifest may change where it says nothing (white space, the attempt); never the files.
    files_differ = name != MANIFEST
    assert damage(path) is not None or not files_differ


@pytest.mark.parametrize("fault", ["truncated", "missing", "no manifest"])
def test_a_damaged_newest_goes_to_quarantine_with_the_reason(tmp_path: Path, fault: str) -> None:
    store = tmp_path / "checkpoints"
    save(store, 10)
    newest = save(store, 20)
    if fault == "truncated":
        (newest / "weights.bin").write_bytes(b"short")
    else:
        (newest / {"missing": "weights.bin", "no manifest": MANIFEST}[fault]).unlink()
    found = newest_valid(store)
    assert found is not None and found.step == 10
    reason = (tmp_path / "quarantine" / "step-000020.a" / "REASON").read_text()
    assert {"truncated": "size", "missing": "missing", "no manifest": "manifest"}[fault] in reason


def test_a_writer_killed_midway_leaves_nothing_under_a_name(tmp_path: Path) -> None:
    store = tmp_path / "checkpoints"

    def write(folder: Path) -> None:
        (folder / "weights.bin").write_bytes(b"half")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        save_checkpoint(store, step=7, attempt="a", write=write)
    assert list_checkpoints(store) == []
    assert damage(save(store, 7)) is None


def test_prune_keeps_the_newest_and_the_best(tmp_path: Path) -> None:
    store = tmp_path / "checkpoints"
    for step in (1, 2, 3, 4, 5):
        save(store, step)
    save(store, 5, attempt="b")
    prune(store, keep=2, also=[1])
    assert [c.step for c in list_checkpoints(store)] == [5, 5, 4, 1]
