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


class Stopped(BaseException):
    """The run was asked to stop, and did; no error, so no handler of errors may take it."""

    def __init__(self, signum: int) -> None:
        self.name = signal.Signals(signum).name
        # As a shell reports it; Slurm's notice counts as the SIGTERM that follows it.
        self.exit_code = 128 + (signal.SIGINT if signum == signal.SIGINT else signal.SIGTERM)
        super().__init__(f"stopped by {self.name}")


class RunFailed(RuntimeError):
    """The run cannot go on, by no fault of the config or the data; exit code 1."""


class StopRequest:
    """What the signal handlers leave for the driver to see."""

    def __init__(self) -> None:
        self.signum: int | None = None
        self._graceful = False

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
        """Stop here if a signal was noted."""
        if self.signum is not None:
            raise Stopped(self.signum)

    def _handle(self, signum: int, frame: FrameType | None) -> None:
        first, self.signum = self.signum is None, signum
        if not (first and self._graceful):
            raise Stopped(signum)
