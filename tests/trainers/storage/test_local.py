"""Local storage: files are replaced atomically and created exclusively."""

import errno
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from trainers.storage.local import LocalStorage, Storage

ROOT = Path(__file__).resolve().parents[3]
CONTEND = """
import sys
from pathlib import Path
from trainers.storage.local import LocalStorage
storage, me = LocalStorage(Path(sys.argv[1])), sys.argv[2].encode()
sys.stdin.readline()
print([n for n in range(50) if storage.create(f"race/{n:02}", me * 1000)])
"""


@pytest.fixture
def storage(tmp_path: Path) -> LocalStorage:
    return LocalStorage(tmp_path / "root")


def test_nothing_is_there_before_the_first_file(storage: LocalStorage) -> None:
    assert storage.names() == [] == storage.names("a/b")
    assert storage.read("a") is None and storage.read("a/b") is None
    storage.delete("a/b")
    assert not Path(storage.root).exists()


def test_what_is_written_is_read_listed_and_deleted(storage: LocalStorage) -> None:
    any_storage: Storage = storage
    for name in ("b", "a/y/1", "a/x", "a.json"):
        any_storage.write(name, name.encode())
    storage.write("b", b"new")
    assert storage.names() == ["a.json", "a/x", "a/y/1", "b"]
    assert storage.names("a") == ["a/x", "a/y/1"]
    assert storage.names("b") == []
    assert (storage.read("b"), storage.read("a/x"), storage.read("b/c")) == (b"new", b"a/x", None)
    storage.delete("a/x")
    storage.delete("b/c")
    assert storage.names() == ["a.json", "a/y/1", "b"]


def test_a_name_is_created_once_and_again_after_it_was_deleted(storage: LocalStorage) -> None:
    assert storage.create("lease/1", b"first")
    assert not storage.create("lease/1", b"second")
    assert storage.read("lease/1") == b"first"
    storage.delete("lease/1")
    assert storage.create("lease/1", b"third")
    assert os.listdir(Path(storage.root) / "lease") == ["1"]


def test_a_name_outside_the_root_is_refused(storage: LocalStorage) -> None:
    for name in ("../x", "/etc/x", "a/../../x", "", "a//b", "."):
        with pytest.raises(AssertionError, match="relative"):
            storage.write(name, b"")


def test_a_file_left_half_by_a_killed_writer_is_not_listed(storage: LocalStorage) -> None:
    storage.write("a", b"whole")
    (Path(storage.root) / ".b.0123.part").write_bytes(b"ha")
    assert storage.names() == ["a"]


def test_of_four_processes_each_name_is_created_by_one(tmp_path: Path) -> None:
    command = [sys.executable, "-c", CONTEND, str(tmp_path)]
    children = [
        subprocess.Popen([*command, me], cwd=ROOT, stdin=-1, stdout=-1, text=True) for me in "abcd"
    ]
    for child in children:
        assert child.stdin is not None
        child.stdin.write("go\n")
        child.stdin.flush()
    won = [eval(child.communicate(timeout=60)[0]) for child in children]
    assert sorted(n for names in won for n in names) == list(range(50))
    storage = LocalStorage(tmp_path)
    for me, names in zip("abcd", won, strict=True):
        assert all(storage.read(f"race/{n:02}") == me.encode() * 1000 for n in names)


def test_a_reader_sees_the_old_or_the_new_bytes(storage: LocalStorage) -> None:
    values = (b"0" * 100_000, b"1" * 100_000)
    storage.write("x", values[0])
    seen: set[bytes | None] = set()
    stop = threading.Event()

    def watch() -> None:
        while not stop.is_set():
            seen.add(storage.read("x"))

    reader = threading.Thread(target=watch)
    reader.start()
    for turn in range(200):
        storage.write("x", values[turn % 2])
    stop.set()
    reader.join()
    assert seen == set(values)


def test_without_hard_links_a_name_is_still_created_once(
    storage: LocalStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.EPERM, "hard links are not supported")

    monkeypatch.setattr(os, "link", refuse)
    assert storage.create("a", b"first")
    assert not storage.create("a", b"second")
    assert storage.read("a") == b"first"
    assert os.listdir(storage.root) == ["a"]


def test_a_link_whose_response_was_lost_is_ours(
    storage: LocalStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    link = os.link

    def twice(source: Path, target: Path) -> None:
        link(source, target)
        link(source, target)

    monkeypatch.setattr(os, "link", twice)
    assert storage.create("a", b"first")
    monkeypatch.setattr(os, "link", link)
    assert not storage.create("a", b"second")


def test_a_full_disk_leaves_no_temporary_and_keeps_the_old_file(
    storage: LocalStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    storage.write("a", b"old")
    monkeypatch.setattr(os, "fsync", full)
    for put in (storage.write, storage.create):
        with pytest.raises(OSError, match="No space"):
            put("a", b"new")
    assert os.listdir(storage.root) == ["a"]
    assert storage.read("a") == b"old"


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads every folder")
def test_an_unreadable_folder_is_an_error_and_not_empty(storage: LocalStorage) -> None:
    storage.write("a/x", b"")
    folder = Path(storage.root) / "a"
    folder.chmod(0)
    try:
        with pytest.raises(PermissionError):
            storage.names("a")
    finally:
        folder.chmod(0o755)
