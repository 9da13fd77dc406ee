"""The lease on a run name: only one driver writes a run directory.

with Lease.take(storage) as lease:      # UserError within 5 s where another driver writes
    ...
    if why := lease.lost(): ...         # "taken over by process 99 on node-b at 2026-11-02T10:00Z"

A killed owner on this machine is seen at once, one elsewhere after `dead_after_s` of silence. An
owner that was suspended for longer finds out on its first look afterwards; what it had already sent
may still arrive, so write names of one attempt only and ask `check` before anything final. A driver
that keeps Python from running for longer than `dead_after_s` counts as silent.
"""

import threading
from collections.abc import Callable

from datasets_src.errors import UserError
from trainers.lease.claim import Claim, LeaseTimes, Surroundings, contend
from trainers.lease.record import LeaseRecord
from trainers.storage.local import Storage


class Lease:
    """A lease that is held, renewed by a thread."""

    def __init__(
        self, claim: Claim, times: LeaseTimes, on_lost: Callable[[str], None] | None
    ) -> None:
        self._claim, self._times, self._on_lost = claim, times, on_lost
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="lease", daemon=True)
        self._thread.start()

    @classmethod
    def take(
        cls,
        storage: Storage,
        *,
        times: LeaseTimes | None = None,
        on_lost: Callable[[str], None] | None = None,
        around: Surroundings | None = None,
    ) -> "Lease":
        """Take the lease of a run directory. `on_lost` is called once, from the lease's thread.

        Raises:
            UserError: its owner is alive; the message names it and the age of its heartbeat.
            OSError: the storage failed.
        """
        times = times or LeaseTimes()
        return cls(contend(storage, times, around or Surroundings()), times, on_lost)

    @property
    def record(self) -> LeaseRecord:
        """What our lease file says."""
        return self._claim.record

    def lost(self) -> str | None:
        """Why the lease is ours no more, or None. Costs nothing while heartbeats are on time."""
        return self._claim.lost()

    def check(self) -> str | None:
        """As `lost`, asked of the storage now."""
        return self._claim.check()

    def release(self) -> None:
        """Give it back. Where that fails it is taken like that of a dead process."""
        self._stop.set()
        self._thread.join(self._times.dead_after_s)
        if not self._thread.is_alive():
            self._claim.release()

    def __enter__(self) -> "Lease":
        return self

    def __exit__(self, *_: object) -> None:
        self.release()

    def _beat(self) -> None:
        while not self._stop.wait(self._times.beat_every_s):
            try:
                why = self._claim.beat()
            except UserError as error:  # the storage does not let us in any more
                why = str(error)
            if why:
                if self._on_lost is not None:
                    self._on_lost(why)
                return
