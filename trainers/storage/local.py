"""Files by name below one root: what checkpoints, the ledger and the lease ask of a storage.

storage = LocalStorage(Path("runs/demo"))
storage.create("lease/000001.json", b"{}")   # True once; False for everybody after
storage.write("run.json", b"{}")             # replaced whole
storage.names("lease")                       # ["lease/000001.json"]
"""

import errno
import os
import uuid
from pathlib import Path
from typing import Protocol

from datasets_src.files import fsync_path, part_path

# Filesystems without hard links answer with one of these (FAT, SMB, most FUSE mounts of buckets).
NO_LINKS = (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK)
# Filesystems whose directories cannot be flushed.
NO_DIRECTORY_SYNC = (errno.EINVAL, errno.EOPNOTSUPP, errno.ENOSYS, errno.EACCES, errno.EBADF)
READ_TRIES = 5


class Storage(Protocol):
    """Names are relative POSIX paths. A fault of the storage is an OSError."""

    root: str  # what messages show: a directory or a URL

    def names(self, prefix: str = "") -> list[str]:
        """All files below the folder `prefix`, at any depth, sorted; [] where there is none."""

    def read(self, name: str) -> bytes | None:
        """The bytes of a file, None where it is not there."""

    def write(self, name: str, data: bytes) -> None:
        """Replace a file; a reader sees the old bytes or the new ones."""

    def create(self, name: str, data: bytes) -> bool:
        """Make a file that nobody else makes: False where the name is taken."""

    def delete(self, name: str) -> None:
        """Remove a file; no error where it is not there."""


class LocalStorage:
    """A directory, local or on a network mount. It is made by the first file written."""

    def __init__(self, path: Path) -> None:
        self._root = path.absolute()
        self.root = str(self._root)

    def path(self, name: str) -> Path:
        """Where a file lies."""
        parts = name.split("/")
        assert name and not {"", ".", ".."} & set(parts), f"not a relative name: {name!r}"
        return self._root.joinpath(*parts)

    def names(self, prefix: str = "") -> list[str]:
        """Files below a folder, without those still being written or left half."""
        top = self.path(prefix) if prefix else self._root
        found = []
        for folder, _, files in os.walk(top, onerror=_refuse_unless_gone):
            found += [Path(folder, file) for file in files if not _is_part(file)]
        return sorted(path.relative_to(self._root).as_posix() for path in found)

    def read(self, name: str) -> bytes | None:
        """The bytes of a file, None where it is not there."""
        for left in reversed(range(READ_TRIES)):
            try:
                return self.path(name).read_bytes()
            except (FileNotFoundError, NotADirectoryError):
                return None
            except OSError as error:
                # On NFS a file that another host replaces is stale between open and read.
                if error.errno != errno.ESTALE or not left:
                    raise
        raise AssertionError("the last try returns or raises")

    def write(self, name: str, data: bytes) -> None:
        """Replace a file, durably."""
        final = self.path(name)
        part = _write_part(final, data)
        try:
            part.replace(final)
        except OSError:
            part.unlink(missing_ok=True)
            raise
        _sync_directory(final.parent)

    def create(self, name: str, data: bytes) -> bool:
        """Make a file, durably and whole; False where the name is taken."""
        final = self.path(name)
        part = _write_part(final, data)
        try:
            made = _link(part, final)
        except OSError as error:
            if error.errno not in NO_LINKS:
                raise
            made = _create_in_place(final, data)
        finally:
            part.unlink(missing_ok=True)
        _sync_directory(final.parent)
        return made

    def delete(self, name: str) -> None:
        """Remove a file; no error where it is not there."""
        try:
            self.path(name).unlink()
        except (FileNotFoundError, NotADirectoryError):
            return


def _is_part(file: str) -> bool:
    return file.startswith(".") and file.endswith(".part")


def _refuse_unless_gone(error: OSError) -> None:
    # A folder removed while it is walked is no fault; one that cannot be read is.
    if not isinstance(error, FileNotFoundError | NotADirectoryError):
        raise error


def _write_part(final: Path, data: bytes) -> Path:
    """Write the bytes to a temporary file in the directory of the final one, and fsync it."""
    final.parent.mkdir(parents=True, exist_ok=True)
    part = part_path(final, uuid.uuid4().hex)
    try:
        _write_new(part, data)
    except OSError:
        part.unlink(missing_ok=True)
        raise
    return part


def _write_new(path: Path, data: bytes) -> None:
    with path.open("xb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _link(part: Path, final: Path) -> bool:
    try:
        os.link(part, final)
    except FileExistsError:
        # NFS repeats a request whose answer was lost, and the second one finds our own link.
        return part.stat().st_nlink == 2
    return True


def _create_in_place(final: Path, data: bytes) -> bool:
    """Exclusive without hard links; for a moment a reader may see fewer bytes."""
    try:
        _write_new(final, data)
    except FileExistsError:
        return False
    except OSError:
        final.unlink(missing_ok=True)
        raise
    return True


def _sync_directory(path: Path) -> None:
    """Make a new name survive a power cut, where directories can be flushed."""
    try:
        fsync_path(path)
    except OSError as error:
        if error.errno not in NO_DIRECTORY_SYNC:
            raise
