"""The location of a run: a directory, or an object store mirrored in a directory of each machine.

location = RunLocation(config)
location.run_dir                 # runs/demo, or ~/.cache/gallipato/runs/<hash of the URL>/demo
location.mirror                  # None, or the mirror between that and s3://bucket/runs/demo

A run on an object store needs no shared file system.
"""

import hashlib
import json
import os
import shutil
from pathlib import Path

from trainers.config.schema import Config
from trainers.lease.claim import LeaseTimes
from trainers.run.records import DRIVER_FILES, LEDGER, WORKER_FILES
from trainers.run.scores import best_score
from trainers.storage.checkpoints import list_checkpoints, newest_valid, step_of
from trainers.storage.json_files import read_json, read_jsonl
from trainers.storage.local import LocalStorage, Storage
from trainers.storage.mirror import Mirror
from trainers.storage.object_store import RemoteStorage, Retry, is_remote

# Requests may be retried for up to 20 s, during which the owner must not count as dead.
REMOTE_LEASE = LeaseTimes(beat_every_s=2.0, dead_after_s=60.0)
LEASE_RETRY = Retry(total_s=20.0)


class RunLocation:
    """Run directory, mirror and lease of one run, for one process on one machine."""

    def __init__(self, config: Config) -> None:
        self.run_dir = output_directory(config) / config.run_name
        self.mirror: Mirror | None = None
        self._url = f"{config.output_dir.rstrip('/')}/{config.run_name}"
        if is_remote(config.output_dir):
            self.mirror = Mirror(RemoteStorage(self._url), self.run_dir)

    @property
    def lease_storage(self) -> Storage:
        """The storage of the run's lease."""
        if self.mirror is None:
            return LocalStorage(self.run_dir)
        return RemoteStorage(self._url, retry=LEASE_RETRY)

    @property
    def lease_times(self) -> LeaseTimes:
        """How often the lease's owner sends a heartbeat, and when it counts as dead."""
        return LeaseTimes() if self.mirror is None else REMOTE_LEASE

    def begin(self) -> None:
        """Synchronise directory and store. The holder of the lease calls this first."""
        self.run_dir.mkdir(parents=True, exist_ok=True)
        if self.mirror is not None:
            synchronise(self.mirror)
            self.mirror.delete_unfinished()

    def refresh(self) -> None:
        """Pull the workers' records."""
        if self.mirror is not None:
            self.mirror.pull_records(WORKER_FILES)

    def push(self) -> None:
        """Push the driver's records."""
        if self.mirror is not None:
            self.mirror.push_records(DRIVER_FILES)

    def push_folder(self, name: str) -> None:
        """Push a folder of the run, e.g. "export"."""
        if self.mirror is not None and (self.run_dir / name).is_dir():
            self.mirror.push_folder(name)

    def newest_step(self) -> int:
        """Step of the newest checkpoint; 0 if there is none."""
        if self.mirror is None:
            return next((c.step for c in list_checkpoints(self.run_dir / "checkpoints")), 0)
        return newest_step(self.mirror)

    def fetch(self, path: str) -> Path:
        """The directory of a checkpoint by its path in checkpoints.jsonl, pulled from the store."""
        folder = self.run_dir / path
        if self.mirror is not None and folder.name in self.mirror.checkpoint_names():
            self.mirror.pull_checkpoint(folder.name)
        return folder

    def fetch_best(self) -> None:
        """Pull the best checkpoint for the export."""
        best = best_score(self.run_dir)
        for row in read_jsonl(self.run_dir / "checkpoints.jsonl"):
            if best is not None and row["step"] == best.step:
                self.fetch(row["path"])


def synchronise(mirror: Mirror) -> None:
    """Synchronise this machine's directory with the store. The driver and rank 0 call this.

    Deletes the directory of an earlier run of the same name, pushes a checkpoint that was saved
    here but not uploaded when its worker was killed, with its records, then pulls all records.
    """
    run_dir, sent = mirror.local, mirror.storage.read("run.json")
    if read_json(run_dir / "run.json").get("started_at") != _started_at(sent):
        shutil.rmtree(run_dir, ignore_errors=True)
    here = newest_valid(run_dir / "checkpoints")
    if here is not None and here.step > newest_step(mirror):
        mirror.push_records((*WORKER_FILES, LEDGER))
        mirror.push_checkpoint(here.path)
    mirror.pull_records((*DRIVER_FILES, *WORKER_FILES))


def newest_step(mirror: Mirror) -> int:
    """Step of the newest checkpoint in the store; 0 if there is none."""
    return next((step_of(name) for name in mirror.checkpoint_names()), 0)


def _started_at(run_json: bytes | None) -> str | None:
    if run_json is None:
        return None
    started: str | None = json.loads(run_json).get("started_at")
    return started


def output_directory(config: Config) -> Path:
    """`output_dir` on this machine, absolute.

    In a Ray job a relative one is below the home directory: the unpacked working directory is
    deleted with the cluster.
    """
    if is_remote(config.output_dir):
        cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
        digest = hashlib.sha256(config.output_dir.rstrip("/").encode()).hexdigest()
        return (cache / "gallipato" / "runs" / digest[:12]).absolute()
    path = Path(config.output_dir).expanduser()
    if not path.is_absolute() and "RAY_JOB_CONFIG_JSON_ENV_VAR" in os.environ:
        path = Path.home() / "gallipato" / path
    return path.absolute()


def output_mirror(config: Config) -> Mirror | None:
    """The mirror of the prepared rows; None if the machines share the directory."""
    if not is_remote(config.output_dir):
        return None
    return Mirror(RemoteStorage(config.output_dir), output_directory(config))


def rows_name(prepared_dir: Path) -> str:
    """The name of prepared rows below an output directory: "prepared/3f2a8c…"."""
    return f"prepared/{prepared_dir.name}"
