"""The seal of a directory: what it was given, so that any changed byte is noticed.

    {
      "attempt": "a1b2c3",
      "files": {"optimizer.safetensors": {"sha256": "9c56…", "size": 7200}},
      "step": 140,
      "sha256": "1f0a…"              of this text without this line
    }

seal(folder, step=140, attempt="a1b2c3"); verify(folder) == Manifest(140, "a1b2c3")
"""

import hashlib
import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from datasets_src.files import sha256_file
from trainers.storage.json_files import write_text

MANIFEST = "MANIFEST.json"
# A change of a file that follows another within a tick of the kernel's clock (10 ms at most) may
# keep its change time.
TICK_NS = 50_000_000
# Digests by device, inode, size and change time, which no write to a file keeps. For `use_known`:
# a prune after every save would otherwise read all checkpoints again.
_known: dict[tuple[int, int, int, int], str] = {}
MAX_KNOWN = 1000


class DamageError(Exception):
    """A directory is not what was sealed; the text says in what."""


@dataclass(frozen=True)
class Manifest:
    """What a sealed directory says it is."""

    step: int
    attempt: str


def seal(folder: Path, *, step: int, attempt: str) -> None:
    """Write a manifest of the files of `folder` into it."""
    files = {
        path.name: {"size": path.stat().st_size, "sha256": _sha256(path)}
        for path in folder.iterdir()
    }
    content = {"step": step, "attempt": attempt, "files": files}
    write_text(folder / MANIFEST, _text(content))


def verify(folder: Path, *, use_known: bool = False) -> Manifest:
    """Compare a directory with its manifest.

    Args:
        use_known: take the digest of a file from memory if its size and change time are the same.

    Raises:
        DamageError: the directory or its manifest is not there, or anything differs.
        OSError: a file cannot be read.
    """
    try:
        content = _read(folder)
        files = content["files"]
        names = {path.name for path in folder.iterdir()} - {MANIFEST}
        if extra := sorted(names - files.keys()):
            raise DamageError(f"{', '.join(extra)}: not in the manifest")
        if missing := sorted(files.keys() - names):
            raise DamageError(f"{', '.join(missing)}: missing")
        for name, want in files.items():
            if (size := (folder / name).stat().st_size) != want["size"]:
                raise DamageError(f"{name}: size is {size}, {want['size']} were written")
        for name, want in files.items():
            if _sha256(folder / name, use_known=use_known) != want["sha256"]:
                raise DamageError(f"{name}: sha256 is not that of what was written")
    except FileNotFoundError as error:  # another process moved or deleted it meanwhile
        raise DamageError(f"{error.filename}: gone while it was read") from error
    return Manifest(content["step"], content["attempt"])


def _read(folder: Path) -> dict[str, Any]:
    """The manifest's content, if it is byte for byte what `seal` writes of that content."""
    path = folder / MANIFEST
    if not path.is_file():
        raise DamageError("no manifest: the writer was stopped, or it was deleted")
    data = path.read_bytes()
    if not data:
        raise DamageError("the manifest is empty")
    try:
        content = json.loads(data)
    except ValueError as error:
        raise DamageError(f"the manifest is not JSON: {error}") from error
    if not _has_shape(content):
        raise DamageError("the manifest is JSON, but not of a checkpoint")
    if _text({key: content[key] for key in ("step", "attempt", "files")}).encode() != data:
        raise DamageError("the manifest is not what was written (its own sha256 differs)")
    assert isinstance(content, dict)
    return content


def _has_shape(content: Any) -> bool:
    match content:
        case {"step": int(), "attempt": str(), "files": dict(files), "sha256": str()}:
            return all(
                isinstance(want, dict) and want.keys() == {"size", "sha256"}
                for want in files.values()
            )
    return False


def _text(content: dict[str, Any]) -> str:
    """The one way to write this content, its sha256 in it."""
    digest = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
    return json.dumps(content | {"sha256": digest}, indent=2, sort_keys=True) + "\n"


def _sha256(path: Path, *, use_known: bool = False) -> str:
    now, status = time.time_ns(), path.stat()
    key = (status.st_dev, status.st_ino, status.st_size, status.st_ctime_ns)
    if use_known and key in _known:
        return _known[key]
    digest = sha256_file(path)
    if now - status.st_ctime_ns > TICK_NS:
        _known[key] = digest
        if len(_known) > MAX_KNOWN:
            del _known[next(iter(_known))]
    return digest
