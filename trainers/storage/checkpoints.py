"""The checkpoint store: whole or not there.

    checkpoints/step-000140.a1b2c3/
        adapter_config.json adapter_model.safetensors   PEFT's layout
        config.json model.safetensors                   or, of `full`, a model's
        optimizer.safetensors trainer_state.json        AdamW's moments by parameter name
        MANIFEST.json                                   sizes and sha256, written last

A checkpoint is written under a temporary name, synced, and renamed when its manifest is in it.
Attempts never share a directory, so a late writer of a dead attempt harms nobody. One attempt
writes at a time, any number of processes read.
"""

import errno
import os
import re
import shutil
import stat
import uuid
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from safetensors import SafetensorError

from datasets_src.files import fsync_path, part_path
from trainers.process.failpoints import fail_at
from trainers.storage.manifest import DamageError, seal, verify

NAME = re.compile(r"step-(\d{6,})\.(\w+)")
# What a killed writer or a killed prune leaves: ".step-000140.a1b2c3.5f0d1e2c.part"
LEFTOVER = re.compile(r"\.step-(\d{6,})\.[\w.]+\.(part|gone)")


@dataclass(frozen=True)
class Checkpoint:
    """A directory of the store, by its name; not thereby valid."""

    step: int
    attempt: str
    path: Path


def step_name(step: int) -> str:
    """The name that scores and predictions carry: "step-000140"."""
    return f"step-{step:06d}"


def step_of_score(name: str) -> int | None:
    """140 of "step-000140"; None of "base" and the other baselines."""
    match = re.fullmatch(r"step-(\d{6,})", name)
    return None if match is None else int(match[1])


def step_of(name: str) -> int:
    """The step of a checkpoint's directory: 140 of "step-000140.a1b2c3"."""
    match = NAME.fullmatch(name)
    assert match is not None, name
    return int(match[1])


def save_checkpoint(
    store: Path, *, step: int, attempt: str, write: Callable[[Path], None]
) -> Checkpoint:
    """Let `write` fill a directory, seal it with a manifest and give it its name.

    A valid checkpoint of that name stays as it is: the same attempt's same step has the same bytes.

    Raises:
        OSError: no space, over the quota, a broken disk; what was written is deleted again.
    """
    final = store / f"{step_name(step)}.{attempt}"
    assert NAME.fullmatch(final.name), final.name
    part = part_path(final, uuid.uuid4().hex[:8])
    try:
        part.mkdir(parents=True)
        _fill(part, step=step, attempt=attempt, write=write)
        if (reason := damage(final)) is None:
            shutil.rmtree(part)
        else:
            if final.is_dir():
                _quarantine(final, reason)
            part.rename(final)
            fail_at("after_rename", step=step)
        fsync_path(store)
    except (OSError, SafetensorError) as error:
        shutil.rmtree(part, ignore_errors=True)
        raise _as_os_error(error) from error
    return Checkpoint(step, attempt, final)


def list_checkpoints(store: Path) -> list[Checkpoint]:
    """All named directories, newest step first, then newest directory first."""
    found = []
    for path in store.iterdir() if store.is_dir() else ():
        if match := NAME.fullmatch(path.name):
            try:
                status = path.stat()
            except FileNotFoundError:  # pruned since it was listed
                continue
            if stat.S_ISDIR(status.st_mode):
                found.append((status.st_mtime_ns, Checkpoint(int(match[1]), match[2], path)))
    found.sort(key=lambda pair: (pair[1].step, pair[0]), reverse=True)
    return [checkpoint for _, checkpoint in found]


def damage(checkpoint: Path, *, use_known: bool = False) -> str | None:
    """What is wrong with a checkpoint, or None if every byte is the one that was written.

    `use_known` does not read again what this process wrote or read and nobody touched since.
    """
    try:
        manifest = verify(checkpoint, use_known=use_known)
    except DamageError as error:
        return str(error)
    meant = f"{step_name(manifest.step)}.{manifest.attempt}"
    return None if meant == checkpoint.name else f"wrong manifest: it is that of {meant}"


def newest_valid(store: Path) -> Checkpoint | None:
    """The newest undamaged checkpoint; damaged ones go to `quarantine/` with the reason."""
    for checkpoint in list_checkpoints(store):
        reason = damage(checkpoint.path)
        if reason is None:
            return checkpoint
        if checkpoint.path.is_dir():  # else another process deleted it meanwhile
            _quarantine(checkpoint.path, reason)
    return None


def prune(store: Path, *, keep: int, also: Iterable[int]) -> None:
    """Delete what is older than the newest `keep` valid steps (at least two), but for `also`.

    Damaged ones among the newest count for nothing and stay for `newest_valid` to put aside.
    """
    best, valid = {*also}, set[int]()
    for checkpoint in list_checkpoints(store):
        if len(valid) < max(keep, 2):
            if damage(checkpoint.path, use_known=True) is None:
                valid.add(checkpoint.step)
        elif checkpoint.step not in valid | best:
            delete_checkpoint(checkpoint.path, step=checkpoint.step)


def sweep(store: Path) -> list[str]:
    """Delete what dead attempts left half written or half deleted; the names of it.

    For the one writer, when it starts: a save that is under way elsewhere would fail.
    """
    leftovers = {
        path: int(match[1])
        for path in (sorted(store.iterdir()) if store.is_dir() else ())
        if (match := LEFTOVER.fullmatch(path.name))
    }
    for path, step in leftovers.items():
        delete_checkpoint(path, step=step)
    return [path.name for path in leftovers]


def _fill(part: Path, *, step: int, attempt: str, write: Callable[[Path], None]) -> None:
    write(part)
    fail_at("after_shard_write", step=step)
    for path in part.iterdir():
        fsync_path(path)
    fail_at("before_manifest", step=step)
    seal(part, step=step, attempt=attempt)
    fsync_path(part)
    fail_at("after_manifest", step=step)


def _quarantine(path: Path, reason: str) -> None:
    """Move a damaged checkpoint, the reason in it, to a name that is free in `quarantine/`."""
    shelves = path.parent.parent / "quarantine"
    shelves.mkdir(exist_ok=True)
    shelf, number = shelves / path.name, 2
    while shelf.exists():
        shelf, number = shelves / f"{path.name}.{number}", number + 1
    # Before the move: nothing is in quarantine without its reason.
    (path / "REASON").write_text(reason + "\n", encoding="utf-8")
    path.rename(shelf)
    print(f"checkpoint {path.name} is damaged ({reason}); moved to {shelf}")


def delete_checkpoint(path: Path, *, step: int) -> None:
    """Renamed first: a kill midway leaves no half checkpoint under a valid name, and a writer that
    still holds the directory can no longer give it one."""
    gone = path.with_name(f".{step_name(step)}.{uuid.uuid4().hex[:8]}.gone")
    try:
        path.rename(gone)
    except FileNotFoundError:  # another process was faster
        return
    fail_at("during_prune", step=step)
    shutil.rmtree(gone, ignore_errors=True)  # what a reader holds open on NFS goes by `sweep`


def _as_os_error(error: OSError | SafetensorError) -> OSError:
    """safetensors' "I/O error: No space left on device (os error 28)" as the OSError it was."""
    if isinstance(error, OSError):
        return error
    found = re.search(r"\(os error (\d+)\)", str(error))
    number = int(found[1]) if found else errno.EIO
    return OSError(number, f"{os.strerror(number)} ({error})")
