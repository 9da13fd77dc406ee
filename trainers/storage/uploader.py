"""Uploads in the background: training continues while a checkpoint is in transit.

with Uploader(mirror, records=("metrics.jsonl", "checkpoints.jsonl", "ledger/")) as uploader:
    uploader.put(folder)      # after a save, before older ones are pruned
    uploader.flush()          # before the process reports that it is done
"""

from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from trainers.storage.mirror import Mirror

IN_FLIGHT = 2  # one being sent and one waiting: bounds the disk space of unsent checkpoints


class Uploader:
    """One thread; its error is raised by the next `put` or `flush` and by all later ones."""

    def __init__(self, mirror: Mirror, *, records: Sequence[str]) -> None:
        self._mirror, self._records = mirror, records
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="uploader")
        self._pending: deque[Future[None]] = deque()

    def put(self, folder: Path) -> None:
        """Queue a sealed checkpoint; blocks while another one is waiting."""
        self._take_done()
        while len(self._pending) >= IN_FLIGHT:
            self._wait()
        self._pending.append(self._pool.submit(self._push, folder))

    def flush(self) -> None:
        """Wait until everything is pushed, including the current records."""
        while self._pending:
            self._wait()
        self._mirror.push_records(self._records)

    def _push(self, folder: Path) -> None:
        # Records first: a resume truncates rows of later steps, but could not restore missing rows
        # of earlier ones.
        self._mirror.push_records(self._records)
        self._mirror.push_checkpoint(folder)

    def _take_done(self) -> None:
        while self._pending and self._pending[0].done():
            self._wait()

    def _wait(self) -> None:
        self._pending[0].result()  # a failed one stays first, so every later call raises it
        self._pending.popleft()

    def __enter__(self) -> "Uploader":
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        try:
            if error is None:
                self.flush()
        finally:
            self._pool.shutdown(wait=True)
