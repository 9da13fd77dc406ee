"""The lease on a run name: only one driver writes a run directory.

with Lease.take(storage) as lease:      # UserError within 5 s if another driver writes
    ...
    if why := lease.lost(): ...         # "taken over by process 99 on node-b at 2026-11-02T10:00Z"

A dead owner on this machine is detected immediately, one elsewhere after `dead_after_s` without a
heartbeat. An owner that was suspended for longer detects the loss on its first check afterwards.
Its requests in flight may still arrive: write names that are unique to the attempt, and call
`check` before anything final. A driver that blocks Python for longer than `dead_after_s` counts as
dead.
"""

import threading
from collections.abc import Callable

from datasets_src.errors import UserError
from trainers.lease.claim import Claim, Environment, LeaseTimes, contend
from trainers.lease.record import LeaseRecord
from trainers.storage.local import Storage


class Lease:
    """A held lease; a thread sends its heartbeats."""

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
        environment: Environment | None = None,
    ) -> "Lease":
        """Take the lease of a run directory. `on_lost` is called once, from the lease's thread.

        Raises:
            UserError: the owner is alive; the message names it and the age of its heartbeat.
            OSError: the storage failed.
        """
        times = times or LeaseTimes()
        return cls(contend(storage, times, environment or Environment()), times, on_lost)

    @property
    def record(self) -> LeaseRecord:
        """The content of our lease file."""
        return self._claim.record

    def lost(self) -> str | None:
        """Why the lease is lost, or None. Makes no request while heartbeats are on time."""
        return self._claim.lost()

    def check(self) -> str | None:
        """Like `lost`, but reads the storage now."""
        return self._claim.check()

    def release(self) -> None:
        """Release the lease. If that fails, it is taken over like that of a dead process."""
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
            except UserError as error:  # the storage denies access now
                why = str(error)
            if why:
                if self._on_lost is not None:
                    self._on_lost(why)
                return
