"""Uploads in the background: training continues while a checkpoint is in transit.

with Uploader(mirror, records=("metrics.jsonl", "checkpoints.jsonl", "ledger/")) as uploader:
    uploader.put(folder)      # after a save, before older ones are pruned
    uploader.flush()          # before the process says that it is done
"""

from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from trainers.storage.mirror import Mirror

IN_FLIGHT = 2  # one on its way and one that waits: what is not yet pushed stays bounded on disk


class Uploader:
    """One thread; an error of it is raised by the next `put` or `flush`, and by all after it."""

    def __init__(self, mirror: Mirror, *, records: Sequence[str]) -> None:
        self._mirror, self._records = mirror, records
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="uploader")
        self._pending: deque[Future[None]] = deque()

    def put(self, folder: Path) -> None:
        """Push a sealed checkpoint soon; waits while another one waits already."""
        self._take_done()
        while len(self._pending) >= IN_FLIGHT:
            self._wait()
        self._pending.append(self._pool.submit(self._push, folder))

    def flush(self) -> None:
        """Wait until all is pushed, the records as they are now too."""
        while self._pending:
            self._wait()
        self._mirror.push_records(self._records)

    def _push(self, folder: Path) -> None:
        # Records before the checkpoint: rows of steps after it are cut at a resume, but rows that
        # are missing before it could never be had again.
        self._mirror.push_records(self._records)
        self._mirror.push_checkpoint(folder)

    def _take_done(self) -> None:
        while self._pending and self._pending[0].done():
            self._wait()

    def _wait(self) -> None:
        self._pending[0].result()  # a failed one stays first: every later call raises it again
        self._pending.popleft()

    def __enter__(self) -> "Uploader":
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        try:
            if error is None:
                self.flush()
        finally:
            self._pool.shutdown(wait=True)
