"""The checkpoint store: whole or not there.

    checkpoints/step-000140.a1b2c3/
        adapter_config.json adapter_model.safetensors   PEFT's layout
        config.json model.safetensors                   or, of `full`, a model's
        optimizer.safetensors trainer_state.json        AdamW's moments by parameter name
        MANIFEST.json                                   sizes and sha256, written last

A checkpoint is written under a temporary name, synced, and renamed when its manifest is in it.
Attempts never share a directory, so a late writer of a dead attempt harms nobody.
"""

import hashlib
import json
import os
import re
import shutil
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from trainers.run_dir import write_json, write_text

MANIFEST = "MANIFEST.json"
NAME = re.compile(r"step-(\d{6,})\.(\w+)")


@dataclass(frozen=True)
class Checkpoint:
    """A directory of the store, by its name; not thereby valid."""

    step: int
    attempt: str
    path: Path


def step_name(step: int) -> str:
    """The name that scores and predictions carry: "step-000140"."""
    return f"step-{step:06d}"


def save_checkpoint(
    store: Path, *, step: int, attempt: str, write: Callable[[Path], None]
) -> Checkpoint:
    """Let `write` fill a directory, seal it with a manifest and give it its name."""
    final = store / f"{step_name(step)}.{attempt}"
    part = store / f".{final.name}.part"
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    write(part)
    files = {p.name: _describe(p) for p in sorted(part.iterdir())}
    write_json(part / MANIFEST, {"step": step, "attempt": attempt, "files": files})
    for path in part.iterdir():
        _sync(path)
    _sync(part)
    if final.exists():  # the same attempt saved this step before and was told to go back
        shutil.rmtree(final)
    part.rename(final)
    _sync(store)
    return Checkpoint(step, attempt, final)


def list_checkpoints(store: Path) -> list[Checkpoint]:
    """All named directories, newest step first, then newest directory first."""
    found = []
    for path in store.iterdir() if store.is_dir() else ():
        if (match := NAME.fullmatch(path.name)) and path.is_dir():
            found.append(Checkpoint(int(match[1]), match[2], path))
    return sorted(found, key=lambda c: (c.step, c.path.stat().st_mtime_ns), reverse=True)


def damage(checkpoint: Path) -> str | None:
    """What is wrong with a checkpoint, or None if every byte is the one that was written."""
    manifest = checkpoint / MANIFEST
    if not manifest.is_file():
        return "no manifest: the writer was stopped"
    try:
        files = json.loads(manifest.read_text(encoding="utf-8"))["files"]
    except (ValueError, KeyError, TypeError) as error:
        return f"manifest unreadable: {error}"
    for name, want in files.items():
        path = checkpoint / name
        if not path.is_file():
            return f"{name} is missing"
        if _describe(path) != want:
            return f"{name} is not what was written (size or sha256 differs)"
    return None


def newest_valid(store: Path) -> Checkpoint | None:
    """The newest undamaged checkpoint; damaged ones go to `quarantine/` with the reason."""
    for checkpoint in list_checkpoints(store):
        reason = damage(checkpoint.path)
        if reason is None:
            return checkpoint
        shelf = store.parent / "quarantine" / checkpoint.path.name
        shelf.parent.mkdir(exist_ok=True)
        shutil.rmtree(shelf, ignore_errors=True)
        checkpoint.path.rename(shelf)
        write_text(shelf / "REASON", reason + "\n")
        print(f"checkpoint {checkpoint.path.name} is damaged ({reason}); moved to {shelf}")
    return None


def prune(store: Path, *, keep: int, also: Iterable[int]) -> None:
    """Delete all but the newest `keep` steps and the steps in `also` (the best)."""
    checkpoints = list_checkpoints(store)
    newest = sorted({c.step for c in checkpoints}, reverse=True)[: max(keep, 2)]
    kept = {*newest, *also}
    for checkpoint in checkpoints:
        if checkpoint.step not in kept:
            # Renamed first: a kill midway leaves no half checkpoint under a valid name.
            gone = store / f".{checkpoint.path.name}.gone"
            checkpoint.path.rename(gone)
            shutil.rmtree(gone)


def sweep(store: Path) -> None:
    """Remove what killed attempts left half written or half deleted."""
    for path in store.glob(".step-*") if store.is_dir() else ():
        shutil.rmtree(path, ignore_errors=True)


def _describe(path: Path) -> dict[str, object]:
    with path.open("rb") as file:
        return {
            "size": path.stat().st_size,
            "sha256": hashlib.file_digest(file, "sha256").hexdigest(),
        }


def _sync(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
