"""Where a run lives: a directory, or an object store that a directory of this machine follows.

home = RunLocation(config)
home.run_dir                     # runs/demo, or ~/.cache/gallipato/runs/<hash of the URL>/demo
home.mirror                      # None, or what carries files between that and s3://bucket/runs/demo

No file system is shared between machines of a run on an object store: each has its own directory.
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

# A request may have to be tried for a while; an owner must not count as dead meanwhile.
REMOTE_LEASE = LeaseTimes(beat_every_s=2.0, dead_after_s=60.0)
LEASE_RETRY = Retry(total_s=20.0)


class RunLocation:
    """The places of one run, as one process on one machine sees them."""

    def __init__(self, config: Config) -> None:
        self.run_dir = output_directory(config) / config.run_name
        self.mirror: Mirror | None = None
        self._url = f"{config.output_dir.rstrip('/')}/{config.run_name}"
        if is_remote(config.output_dir):
            self.mirror = Mirror(RemoteStorage(self._url), self.run_dir)

    @property
    def lease_storage(self) -> Storage:
        """Where the lease of the run is."""
        if self.mirror is None:
            return LocalStorage(self.run_dir)
        return RemoteStorage(self._url, retry=LEASE_RETRY)

    @property
    def lease_times(self) -> LeaseTimes:
        """How often the lease's owner sends a heartbeat, and when it counts as dead."""
        return LeaseTimes() if self.mirror is None else REMOTE_LEASE

    def begin(self) -> None:
        """Make directory and store agree; for the holder of the lease, before all else."""
        self.run_dir.mkdir(parents=True, exist_ok=True)
        if self.mirror is not None:
            follow(self.mirror)
            self.mirror.delete_unfinished()

    def refresh(self) -> None:
        """Fetch what the workers recorded."""
        if self.mirror is not None:
            self.mirror.pull_records(WORKER_FILES)

    def push(self) -> None:
        """Send what the driver recorded."""
        if self.mirror is not None:
            self.mirror.push_records(DRIVER_FILES)

    def push_folder(self, name: str) -> None:
        """Send a folder of the run, e.g. "export"."""
        if self.mirror is not None and (self.run_dir / name).is_dir():
            self.mirror.push_folder(name)

    def newest_step(self) -> int:
        """Step of the newest checkpoint; 0 if there is none."""
        if self.mirror is None:
            return next((c.step for c in list_checkpoints(self.run_dir / "checkpoints")), 0)
        return newest_step(self.mirror)

    def fetch(self, path: str) -> Path:
        """The directory of a checkpoint by its path in checkpoints.jsonl, if it is to be had."""
        folder = self.run_dir / path
        if self.mirror is not None and folder.name in self.mirror.checkpoint_names():
            self.mirror.pull_checkpoint(folder.name)
        return folder

    def fetch_best(self) -> None:
        """Have the best checkpoint in the directory, to be exported."""
        best = best_score(self.run_dir)
        for row in read_jsonl(self.run_dir / "checkpoints.jsonl"):
            if best is not None and row["step"] == best.step:
                self.fetch(row["path"])


def follow(mirror: Mirror) -> None:
    """Make this machine's directory and the store agree; for the driver, and for rank 0.

    A checkpoint that was saved here and not yet sent when its worker was killed is sent now, with
    its records; then the store's word is taken. What is here of another run of that name goes.
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
    """`output_dir` on this machine, absolute. In a Ray job the unpacked working directory is
    thrown away with the cluster, so there a relative one lies under the home directory instead."""
    if is_remote(config.output_dir):
        cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
        digest = hashlib.sha256(config.output_dir.rstrip("/").encode()).hexdigest()
        return (cache / "gallipato" / "runs" / digest[:12]).absolute()
    path = Path(config.output_dir).expanduser()
    if not path.is_absolute() and "RAY_JOB_CONFIG_JSON_ENV_VAR" in os.environ:
        path = Path.home() / "gallipato" / path
    return path.absolute()


def output_mirror(config: Config) -> Mirror | None:
    """What carries prepared rows between machines; None where they share the directory."""
    if not is_remote(config.output_dir):
        return None
    return Mirror(RemoteStorage(config.output_dir), output_directory(config))


def rows_name(prepared_dir: Path) -> str:
    """The name of prepared rows below an output directory: "prepared/3f2a8c…"."""
    return f"prepared/{prepared_dir.name}"
