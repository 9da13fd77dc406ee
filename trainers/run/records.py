"""The files of a run directory with their writers, and the record files of one attempt.

    config.yaml run.json data.json artifact.json        driver
    faults.jsonl progress.json report.html              driver
    metrics.jsonl checkpoints.jsonl scores.jsonl        rank 0; one row per step, save, score
    predictions/ stacks/                                workers
    ledger/<attempt>-rank0.jsonl                        every rank; what it trained on
        {"attempt": "a1b2c3", "rank": 0, "step": 8, "ids": ["12", "7"], "loss": "0x1.8p+0"}

records = open_records(run_dir, ledger="ledger/a1b2c3-rank0.jsonl", rank=0, after=140)
records.append("metrics", {...})

An attempt replaces the record files by their rows up to its first step and keeps the new ones open.
That fences attempts: a stale worker writes to an unlinked file.
"""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

from trainers.storage.json_files import read_jsonl, write_jsonl

# A process pushes only the files that it writes.
DRIVER_FILES = (
    "config.yaml",
    "run.json",
    "data.json",
    "artifact.json",
    "faults.jsonl",
    "progress.json",
    "report.html",
)
WORKER_FILES = ("metrics.jsonl", "checkpoints.jsonl", "scores.jsonl", "predictions/", "stacks/")
# One file per worker and attempt, pushed by the machine that wrote it and never fetched.
LEDGER = "ledger/"
# What the report is made of.
REPORTED_FILES = (
    "config.yaml",
    "run.json",
    "data.json",
    "metrics.jsonl",
    "checkpoints.jsonl",
    "scores.jsonl",
    "predictions",
    "artifact.json",
)
NAMES = ("metrics", "checkpoints", "scores")


class Records:
    """Open files by name; a row is one write."""

    def __init__(self, paths: Mapping[str, Path]) -> None:
        for path in paths.values():
            path.parent.mkdir(parents=True, exist_ok=True)
        self._files: dict[str, IO[bytes]] = {
            name: path.open("ab", buffering=0) for name, path in paths.items()
        }

    def append(self, name: str, row: Mapping[str, Any]) -> None:
        """Add one line."""
        line = json.dumps(row, ensure_ascii=False).encode() + b"\n"
        written = self._files[name].write(line)
        if written != len(line):  # the storage is full; the next write says so
            self._files[name].write(line[written:])

    def sync(self) -> None:
        """Wait for the disk, before a checkpoint says that these rows are done."""
        for file in self._files.values():
            os.fsync(file.fileno())

    def __enter__(self) -> "Records":
        return self

    def __exit__(self, *_: object) -> None:
        for file in self._files.values():
            file.close()


def open_records(
    run_dir: Path, *, ledger: str, rank: int, after: int, with_scores: bool = True
) -> Records:
    """The files of this worker. On rank 0 rows of steps beyond `after` are dropped: those steps
    are done again, and each has one row whatever was killed. Scores may be the driver's to write
    (scoring_pool.py)."""
    paths = {"ledger": run_dir / ledger}
    if rank == 0:
        for name in NAMES if with_scores else NAMES[:-1]:
            path = paths[name] = run_dir / f"{name}.jsonl"
            rows = list(read_jsonl(path))
            write_jsonl(path, [row for row in rows if (row["step"] or 0) <= after])
    return Records(paths)
