"""Named files below one root: the storage interface of leases and mirrors, and its local version.

storage = LocalStorage(Path("runs/demo"))
storage.create("lease/000001.json", b"{}")   # True for exactly one caller
storage.write("run.json", b"{}")             # replaced whole
storage.names("lease")                       # ["lease/000001.json"]
"""

import errno
import os
import uuid
from pathlib import Path
from typing import Protocol

from datasets_src.files import fsync_path, part_path

# Errors of file systems without hard links (FAT, SMB, most FUSE mounts of buckets).
NO_LINKS = (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK)
# Errors of file systems that cannot fsync a directory.
NO_DIRECTORY_SYNC = (errno.EINVAL, errno.EOPNOTSUPP, errno.ENOSYS, errno.EACCES, errno.EBADF)
READ_TRIES = 5


class Storage(Protocol):
    """Names are relative POSIX paths. Failures of the storage are OSErrors."""

    root: str  # a directory or a URL, for messages

    def names(self, prefix: str = "") -> list[str]:
        """All files below the folder `prefix` at any depth, sorted; [] if there are none."""

    def read(self, name: str) -> bytes | None:
        """The bytes of a file; None if it does not exist."""

    def write(self, name: str, data: bytes) -> None:
        """Replace a file; a reader sees the old bytes or the new ones."""

    def create(self, name: str, data: bytes) -> bool:
        """Create a file exclusively: False if the name exists."""

    def delete(self, name: str) -> None:
        """Remove a file, if there is one."""


class LocalStorage:
    """A directory, local or on a network mount; the first write creates it."""

    def __init__(self, path: Path) -> None:
        self._root = path.absolute()
        self.root = str(self._root)

    def path(self, name: str) -> Path:
        """The path of a file."""
        parts = name.split("/")
        assert name and not {"", ".", ".."} & set(parts), f"not a relative name: {name!r}"
        return self._root.joinpath(*parts)

    def names(self, prefix: str = "") -> list[str]:
        """Files below a folder, without temporaries."""
        top = self.path(prefix) if prefix else self._root
        found = []
        for folder, _, files in os.walk(top, onerror=_refuse_unless_gone):
            found += [Path(folder, file) for file in files if not _is_part(file)]
        return sorted(path.relative_to(self._root).as_posix() for path in found)

    def read(self, name: str) -> bytes | None:
        """The bytes of a file; None if it does not exist."""
        for left in reversed(range(READ_TRIES)):
            try:
                return self.path(name).read_bytes()
            except (FileNotFoundError, NotADirectoryError):
                return None
            except OSError as error:
                # NFS: another host replaced the file between open and read.
                if error.errno != errno.ESTALE or not left:
                    raise
        raise AssertionError("the last try returns or raises")

    def write(self, name: str, data: bytes) -> None:
        """Replace a file durably."""
        final = self.path(name)
        part = _write_part(final, data)
        try:
            part.replace(final)
        except OSError:
            part.unlink(missing_ok=True)
            raise
        _sync_directory(final.parent)

    def create(self, name: str, data: bytes) -> bool:
        """Create a file durably and completely; False if the name exists."""
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
        """Remove a file, if there is one."""
        try:
            self.path(name).unlink()
        except (FileNotFoundError, NotADirectoryError):
            return


def _is_part(file: str) -> bool:
    return file.startswith(".") and file.endswith(".part")


def _refuse_unless_gone(error: OSError) -> None:
    # A folder may be removed during the walk; an unreadable one is an error.
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
        # NFS repeats a request whose response was lost; the repeat finds our own link.
        return part.stat().st_nlink == 2
    return True


def _create_in_place(final: Path, data: bytes) -> bool:
    """Exclusive creation without hard links; a reader may briefly see fewer bytes."""
    try:
        _write_new(final, data)
    except FileExistsError:
        return False
    except OSError:
        final.unlink(missing_ok=True)
        raise
    return True


def _sync_directory(path: Path) -> None:
    """Make a new name survive a power cut, where the file system can fsync directories."""
    try:
        fsync_path(path)
    except OSError as error:
        if error.errno not in NO_DIRECTORY_SYNC:
            raise
