"""Writing files and directories atomically, and hashing and listing them.

with write_atomically(Path("runs/demo/model.gguf")) as part:     # runs/demo/.model.gguf.part
    convert(part)

Part of datasets_src, not of trainers, because preparation, recipes and caches write atomically too
and import nothing of trainers.
"""

import hashlib
import os
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path


def part_path(path: Path, writer: str = "") -> Path:
    """The hidden temporary name next to `path`: `.name.part`.

    Args:
        writer: goes into the name (`.name.writer.part`) where several may write `path` at once.
    """
    return path.with_name(f".{path.name}.{writer}.part" if writer else f".{path.name}.part")


@contextmanager
def write_atomically(path: Path, *, writer: str = "") -> Iterator[Path]:
    """Yield a temporary name for a file or a directory; rename it to `path` when the block ends.

    A reader sees the old content or the new, never a mixture. An exception deletes the temporary
    and leaves `path` as it was; a kill leaves the temporary, which the next writer of that name
    deletes. The caller syncs inside the block what must survive a power cut. A directory replaces
    nothing but an empty one.

    Args:
        writer: see `part_path`.

    Raises:
        OSError: the parent cannot be made or written, or the rename fails.
    """
    part = part_path(path, writer)
    path.parent.mkdir(parents=True, exist_ok=True)
    _delete(part)
    with ExitStack() as undo:
        undo.callback(_discard, part)
        yield part
        part.replace(path)
        undo.pop_all()


def fsync_path(path: Path) -> None:
    """Wait until a file, or the names in a directory, are on disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sha256_file(path: Path) -> str:
    """The sha256 of a file's bytes in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def visible_files(folder: Path) -> list[str]:
    """Relative POSIX paths of the files at any depth, sorted; without hidden files and folders,
    which are locks and temporaries."""
    found = [path.relative_to(folder) for path in folder.rglob("*") if path.is_file()]
    return sorted(p.as_posix() for p in found if not any(n.startswith(".") for n in p.parts))


def _discard(path: Path) -> None:
    with suppress(OSError):  # the error of the block is the one to report
        _delete(path)


def _delete(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
