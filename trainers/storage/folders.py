"""Folders on an object store, complete or absent: files first, then a marker that lists them.

push_files(storage, folder, "prepared/3f2a", marker="COMPLETE.json", content=describe_files(folder))

A marker: {"files": {"train.parquet": {"sha256": "9c56…", "size": 7200}}}
"""

import json
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from datasets_src.files import fsync_path, sha256_file, visible_files
from trainers.storage.object_store import RemoteError, RemoteStorage


class DamagedError(RemoteError):
    """The fetched files differ from the pushed ones."""


def push_files(
    storage: RemoteStorage, folder: Path, name: str, *, marker: str, content: bytes
) -> None:
    """Upload the files of a local folder, then its marker."""
    storage.delete(f"{name}/{marker}")  # of an earlier push
    for path in visible_files(folder):
        if path != marker:
            storage.upload(folder / path, f"{name}/{path}")
    storage.write(f"{name}/{marker}", content)


@contextmanager
def part_directory(final: Path) -> Iterator[Path]:
    """A directory of the same name in a hidden one; renamed to `final` if the block ends without an
    exception. The caller holds a lock on `final`."""
    for old in final.parent.glob(f".{final.name}.*.pull"):
        shutil.rmtree(old)  # left by a process that was killed while it held the lock
    hidden = final.with_name(f".{final.name}.{uuid.uuid4().hex[:8]}.pull")
    part = hidden / final.name
    part.mkdir(parents=True)
    try:
        yield part
        if final.exists():
            shutil.rmtree(final)
        part.rename(final)
        fsync_path(final.parent)
    finally:
        shutil.rmtree(hidden, ignore_errors=True)


def describe_files(folder: Path) -> bytes:
    """The content of a marker: sizes and sha256 of the visible files."""
    files = {name: _describe(folder / name) for name in visible_files(folder)}
    return json.dumps({"files": files}, indent=2, sort_keys=True).encode()


def file_names(marker: bytes) -> list[str]:
    """The valid file names in a marker or manifest; a comparison with the files shows damage."""
    try:
        names = list(json.loads(marker)["files"])
    except (ValueError, KeyError, TypeError):
        return []
    return [name for name in names if not {"", ".", ".."} & set(name.split("/"))]


def _describe(path: Path) -> dict[str, object]:
    return {"size": path.stat().st_size, "sha256": sha256_file(path)}
