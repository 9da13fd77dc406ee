"""Atomic directories: written under a hidden name, renamed when complete.

with staged(Path("runs"), digest) as (part, final):
    (part / "data.json").write_text(...)          # final = runs/prepared/<16 hex digits>
"""

import errno
import json
import os
import shutil
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from datasets_src.errors import UserError
from datasets_src.files import fsync_path, part_path

# Errors of full or read-only storage.
STORAGE_FAULTS = {errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EEXIST}
STORAGE_FAULTS |= {errno.ENOSPC, errno.EDQUOT}
FILES = ("train.parquet", "validation.parquet", "data.json")
MIB = 2**20
# Upper bound of the size of tokenised rows per byte of text: a token takes 4 bytes and covers at
# least one byte of text, and the text itself is stored too.
BYTES_PER_TEXT_BYTE = 5


def find_complete(output_dir: Path, digest: str) -> Path | None:
    """The prepared directory with this hash, if it is complete."""
    final = output_dir / "prepared" / digest[:16]
    if not all((final / name).is_file() for name in FILES):
        return None
    report = json.loads((final / "data.json").read_text(encoding="utf-8"))
    return final if report["data_hash"] == digest else None


@contextmanager
def staged(output_dir: Path, digest: str) -> Iterator[tuple[Path, Path]]:
    """A directory to write into, and the path it is renamed to if the block succeeds.

    Raises:
        UserError: the storage is full or cannot be written.
    """
    final = output_dir / "prepared" / digest[:16]
    part = part_path(final, f"{socket.gethostname()}.{os.getpid()}")
    try:
        final.parent.mkdir(parents=True, exist_ok=True)
        _remove_left_over(final.parent)
        part.mkdir()
        yield part, final
        _publish(part, final, digest)
    except OSError as error:
        if error.errno not in STORAGE_FAULTS:
            raise
        raise _explain(error, output_dir) from error
    finally:
        shutil.rmtree(part, ignore_errors=True)


def check_space(directory: Path, text_bytes: int) -> None:
    """Raise a UserError if the disk may be too small for the rows of `text_bytes` of text."""
    needed, free = text_bytes * BYTES_PER_TEXT_BYTE + MIB, shutil.disk_usage(directory).free
    if free < needed:
        raise UserError(
            f"output_dir: {directory.parent} has {free / MIB:,.0f} MiB free, the tokenised rows"
            f" may need {needed / MIB:,.0f} MiB; free space, or set another output_dir"
        )


def _publish(part: Path, final: Path, digest: str) -> None:
    fsync_path(part)
    try:
        part.rename(final)
    except OSError as error:
        # Another process finished the same work first, with the same bytes.
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
            raise
        if find_complete(final.parent.parent, digest) is None:
            raise UserError(
                f"output_dir: {final} exists but is incomplete; delete it and run again"
            ) from None


def _remove_left_over(folder: Path) -> None:
    """Remove directories left by killed processes of this host."""
    for part in folder.glob(f".*.{socket.gethostname()}.*.part"):
        pid = int(part.name.split(".")[-2])
        if pid == os.getpid() or not _is_alive(pid):
            shutil.rmtree(part, ignore_errors=True)


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _explain(error: OSError, output_dir: Path) -> UserError:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        free = shutil.disk_usage(output_dir).free / MIB
        return UserError(
            f"output_dir: {output_dir} is full ({free:,.0f} MiB free); free space, or set"
            " another output_dir"
        )
    return UserError(
        f"output_dir: {output_dir} cannot be written ({error.strerror or error}); set output_dir"
        " to a writable directory"
    )
