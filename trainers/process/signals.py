"""The signals that ask a run to stop, and the two ways in which a run ends without its fault.

    SIGINT (ctrl-C), SIGTERM (`ray job stop`, Slurm, Azure), SIGUSR1 (Slurm's --signal)

While workers train, the first one lets them save the step they are at and leave; a second one, or
one at any other time, ends the driver at once. Nothing is lost either way.
"""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)


class StoppedBySignal(BaseException):
    """The run was asked to stop, and did; no error, so no handler of errors may take it."""

    def __init__(self, signum: int) -> None:
        self.name = signal.Signals(signum).name
        # As a shell reports it; Slurm's notice counts as the SIGTERM that follows it.
        self.exit_code = 128 + (signal.SIGINT if signum == signal.SIGINT else signal.SIGTERM)
        super().__init__(f"stopped by {self.name}")


class RunFailed(RuntimeError):
    """The run failed for a reason outside config and data; exit code 1."""


class StopSignal:
    """What signal handlers and the lease leave for the driver to see."""

    def __init__(self) -> None:
        self.signum: int | None = None
        self._lost: str | None = None
        self._graceful = False

    def lose(self, why: str) -> None:
        """Note that the run is another driver's now."""
        self._lost = why

    def install(self) -> None:
        """Handle the signals; again after `ray.init()`, which puts handlers of its own."""
        for signum in SIGNALS:
            signal.signal(signum, self._handle)

    @contextmanager
    def graceful(self) -> Iterator[None]:
        """Within this block the first signal is only noted."""
        self._graceful = True
        try:
            yield
        finally:
            self._graceful = False

    def raise_if_asked(self) -> None:
        """Stop here if a signal was noted, or the lease was lost."""
        self.raise_if_lost()
        if self.signum is not None:
            raise StoppedBySignal(self.signum)

    def raise_if_lost(self) -> None:
        """Stop here, and write nothing more, if another driver has taken the run."""
        if self._lost is not None:
            raise RunFailed(f"run_name: this driver lost its run: {self._lost}")

    def _handle(self, signum: int, frame: FrameType | None) -> None:
        first, self.signum = self.signum is None, signum
        if not (first and self._graceful):
            raise StoppedBySignal(signum)
