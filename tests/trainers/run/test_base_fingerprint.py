"""The fingerprint of a base: any changed byte is detected, unchanged files are not reread."""

import hashlib
import json
import os
from pathlib import Path

import pytest

from trainers.models.weight_files import INDEX
from trainers.run.base_fingerprint import Files, changed_files, describe_base

WEIGHTS = "model-00001-of-00002.safetensors"


@pytest.fixture
def base(tmp_path: Path) -> Path:
    """A model directory, with a file that is not part of the model."""
    folder = tmp_path / "base"
    folder.mkdir()
    for name in (WEIGHTS, "model-00002-of-00002.safetensors", "config.json", "README.md"):
        (folder / name).write_bytes(name.encode() * 100)
    where = {"a": WEIGHTS, "b": "model-00002-of-00002.safetensors"}
    (folder / INDEX).write_text(json.dumps({"weight_map": where}))
    return folder


def test_each_file_that_a_model_is_made_of(base: Path) -> None:
    described = describe_base(base, known={})
    assert list(described) == ["config.json", WEIGHTS, "model-00002-of-00002.safetensors"]
    stat, content = (base / WEIGHTS).stat(), (base / WEIGHTS).read_bytes()
    assert described[WEIGHTS] == {
        "size": len(content),
        "mtime_ns": stat.st_mtime_ns,
        "sha256": hashlib.sha256(content).hexdigest(),
    }


@pytest.mark.parametrize("at", [0, 1000, -1])
def test_one_changed_byte_of_a_file_as_long_as_before(base: Path, at: int) -> None:
    before = describe_base(base, known={})
    content = bytearray((base / WEIGHTS).read_bytes())
    content[at] ^= 1
    (base / WEIGHTS).write_bytes(content)
    later(base / WEIGHTS, before)
    now = describe_base(base, known=before)
    assert now[WEIGHTS]["size"] == before[WEIGHTS]["size"]
    assert changed_files(before, now) == [WEIGHTS]


def test_a_touched_file_is_the_same(base: Path) -> None:
    before = describe_base(base, known={})
    later(base / WEIGHTS, before)
    now = describe_base(base, known=before)
    assert now[WEIGHTS]["mtime_ns"] == before[WEIGHTS]["mtime_ns"] + 10**9
    assert changed_files(before, now) == []


def test_a_file_of_known_size_and_time_is_not_read(base: Path) -> None:
    known = describe_base(base, known={})
    known["config.json"]["sha256"] = "kept"  # reading it would give the true one
    known[WEIGHTS]["sha256"] = "of another size"
    known[WEIGHTS]["size"] += 1
    described = describe_base(base, known=known)
    assert described["config.json"]["sha256"] == "kept"
    assert described[WEIGHTS]["sha256"] == hashlib.sha256((base / WEIGHTS).read_bytes()).hexdigest()


def test_files_that_came_and_went(base: Path) -> None:
    before = describe_base(base, known={})
    (base / WEIGHTS).unlink()
    (base / "consolidated.safetensors").write_bytes(b"is no part of it")
    (base / "README.md").write_bytes(b"neither is this")
    without = describe_base(base, known=before)
    assert changed_files(before, without) == [WEIGHTS]
    (base / WEIGHTS).write_bytes(b"another")
    assert changed_files(without, describe_base(base, known=without)) == [WEIGHTS]


def later(path: Path, before: Files) -> None:
    """Set a file's time to a second after the known one."""
    mtime_ns = before[path.name]["mtime_ns"] + 10**9
    os.utime(path, ns=(mtime_ns, mtime_ns))
