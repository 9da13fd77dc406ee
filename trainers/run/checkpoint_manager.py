"""A worker's checkpoints: in its run directory, and in the object store that this mirrors.

with CheckpointManager(run_dir, mirror, ledger="ledger/a1b2c3-rank0.jsonl", rank=0) as checkpoints:
    checkpoint = checkpoints.fetch("step-000140.a1b2c3")
    checkpoints.saved(checkpoint); checkpoints.prune(keep=3, also=[best])
"""

from collections.abc import Iterable
from pathlib import Path

from trainers.run.location import follow
from trainers.run.records import LEDGER, WORKER_FILES
from trainers.storage.checkpoints import Checkpoint, newest_valid, prune, step_of, sweep
from trainers.storage.mirror import Mirror
from trainers.storage.uploader import Uploader


class CheckpointManager:
    """Without a mirror, the checkpoint store of the run directory and nothing else."""

    def __init__(self, run_dir: Path, mirror: Mirror | None, *, ledger: str, rank: int) -> None:
        self._store, self._mirror, self._ledger = run_dir / "checkpoints", mirror, ledger
        self._uploader: Uploader | None = None
        if mirror is not None:
            mirror.push_records((LEDGER,))  # of attempts that were killed before they sent it
        if mirror is not None and rank == 0:
            self._uploader = Uploader(mirror, records=(*WORKER_FILES, ledger))

    def newest(self) -> Checkpoint | None:
        """The newest valid checkpoint; for rank 0, before the others look."""
        sweep(self._store)
        if self._mirror is None:
            return newest_valid(self._store)
        follow(self._mirror)
        path = self._mirror.newest_checkpoint()
        return None if path is None else _checkpoint(path)

    def fetch(self, name: str) -> Checkpoint:
        """A checkpoint that rank 0 found, on this machine."""
        if self._mirror is not None:
            self._mirror.pull_checkpoint(name)
        return _checkpoint(self._store / name)

    def saved(self, checkpoint: Checkpoint) -> None:
        """Upload a new checkpoint in the background; blocks while an earlier one waits."""
        if self._uploader is not None:
            self._uploader.put(checkpoint.path)

    def prune(self, *, keep: int, also: Iterable[int]) -> None:
        """Delete all but the newest `keep` steps and those in `also`, here and in the store."""
        prune(self._store, keep=keep, also=also)
        if self._mirror is not None:
            names = {name: step_of(name) for name in self._mirror.checkpoint_names()}
            kept = {*also, *sorted(set(names.values()), reverse=True)[: max(keep, 2)]}
            for name, step in names.items():
                if step not in kept:
                    self._mirror.delete_checkpoint(name)

    def send_ledger(self) -> None:
        """Send this worker's ledger as it is now; rank 0's goes with its checkpoints."""
        if self._mirror is not None and self._uploader is None:
            self._mirror.push_records((self._ledger,))

    def __enter__(self) -> "CheckpointManager":
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if self._uploader is not None:
            self._uploader.__exit__(kind, error, trace)
        elif error is None:
            self.send_ledger()


def _checkpoint(path: Path) -> Checkpoint:
    return Checkpoint(step_of(path.name), path.suffix.removeprefix("."), path)
