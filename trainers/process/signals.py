"""The signals that stop a run, and the exceptions of a run that was stopped or could not continue.

    SIGINT (ctrl-C), SIGTERM (`ray job stop`, Slurm, Azure), SIGUSR1 (Slurm's --signal)

During training the first signal lets the workers save the current step and exit; a second one, or
one at any other time, ends the driver immediately. Nothing is lost either way.
"""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)


class StoppedBySignal(BaseException):
    """The run stopped on a signal. Not an Exception, so that no error handler catches it."""

    def __init__(self, signum: int) -> None:
        self.name = signal.Signals(signum).name
        # As a shell reports it; Slurm's notice counts as the SIGTERM that follows it.
        self.exit_code = 128 + (signal.SIGINT if signum == signal.SIGINT else signal.SIGTERM)
        super().__init__(f"stopped by {self.name}")


class RunFailed(RuntimeError):
    """The run failed for a reason outside config and data; exit code 1."""


class StopSignal:
    """Requests to stop, noted by signal handlers and the lease for the driver."""

    def __init__(self) -> None:
        self.signum: int | None = None
        self._lost: str | None = None
        self._graceful = False

    def lose(self, why: str) -> None:
        """Note that another driver has taken over the run."""
        self._lost = why

    def install(self) -> None:
        """Install the handlers; again after `ray.init()`, which replaces them."""
        for signum in SIGNALS:
            signal.signal(signum, self._handle)

    @contextmanager
    def graceful(self) -> Iterator[None]:
        """Only note the first signal within this block."""
        self._graceful = True
        try:
            yield
        finally:
            self._graceful = False

    def raise_if_asked(self) -> None:
        """Stop if a signal was noted or the lease was lost."""
        self.raise_if_lost()
        if self.signum is not None:
            raise StoppedBySignal(self.signum)

    def raise_if_lost(self) -> None:
        """Stop, without further writes, if another driver has taken over the run."""
        if self._lost is not None:
            raise RunFailed(f"run_name: this driver lost its run: {self._lost}")

    def _handle(self, signum: int, frame: FrameType | None) -> None:
        first, self.signum = self.signum is None, signum
        if not (first and self._graceful):
            raise StoppedBySignal(signum)
