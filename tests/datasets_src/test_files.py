"""Atomic writes: the old content or the new, whatever happens between; listing; hashing."""

import hashlib
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from datasets_src.files import fsync_path, part_path, sha256_file, visible_files, write_atomically

ROOT = Path(__file__).resolve().parents[2]
KILLED = """
import os, signal, sys
from pathlib import Path
from datasets_src.files import write_atomically
with write_atomically(Path(sys.argv[1])) as part:
    part.write_text("new")
    os.kill(os.getpid(), signal.SIGKILL)
"""


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_file_is_replaced_when_the_block_ends(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "model.gguf"
    for text in ("old", "new"):
        with write_atomically(path) as part:
            part.write_text(text)
            assert not path.exists() or path.read_text() == "old"
        assert path.read_text() == text
    assert names(path.parent) == ["model.gguf"]


def test_a_directory_gets_its_name_when_the_block_ends(tmp_path: Path) -> None:
    with write_atomically(tmp_path / "merged") as part:
        part.mkdir()
        (part / "config.json").write_text("{}")
        assert names(tmp_path) == [".merged.part"]
    assert names(tmp_path / "merged") == ["config.json"]
    with pytest.raises(OSError), write_atomically(tmp_path / "merged") as part:
        part.mkdir()  # a directory that is not empty is not replaced
    assert names(tmp_path / "merged") == ["config.json"] and names(tmp_path) == ["merged"]


def test_an_exception_leaves_the_old_content_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "run.json"
    path.write_text("old")
    with pytest.raises(KeyboardInterrupt), write_atomically(path, writer="7") as part:
        part.write_text("half")
        raise KeyboardInterrupt
    assert path.read_text() == "old" and names(tmp_path) == ["run.json"]


def test_a_kill_leaves_the_old_content_and_the_next_writer_cleans_up(tmp_path: Path) -> None:
    path = tmp_path / "run.json"
    path.write_text("old")
    ran = subprocess.run([sys.executable, "-c", KILLED, str(path)], cwd=ROOT, check=False)
    assert ran.returncode == -signal.SIGKILL
    assert path.read_text() == "old" and names(tmp_path) == [".run.json.part", "run.json"]
    with write_atomically(path) as part:
        assert not part.exists()
        part.write_text("next")
    assert path.read_text() == "next" and names(tmp_path) == ["run.json"]


def test_writers_of_one_name_do_not_share_a_temporary(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    assert part_path(path, "1") != part_path(path, "2") != part_path(path)
    with write_atomically(path, writer="1") as one, write_atomically(path, writer="2") as two:
        one.write_text("1")
        two.write_text("2")
    assert path.read_text() == "1", "the last rename wins"


@pytest.mark.skipif(os.getuid() == 0, reason="root may write everywhere")
def test_a_directory_without_write_permission_is_an_os_error(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(PermissionError), write_atomically(tmp_path / "a") as part:
        part.write_text("x")


def test_hash_sync_and_list(tmp_path: Path) -> None:
    (tmp_path / "b" / ".git").mkdir(parents=True)
    for name in ("b/z.txt", "a.txt", ".lock", "b/.git/x", "b/.y.part"):
        (tmp_path / name).write_text(name)
    assert visible_files(tmp_path) == ["a.txt", "b/z.txt"]
    assert sha256_file(tmp_path / "a.txt") == hashlib.sha256(b"a.txt").hexdigest()
    fsync_path(tmp_path / "a.txt")
    fsync_path(tmp_path)
    with pytest.raises(FileNotFoundError):
        fsync_path(tmp_path / "none")
