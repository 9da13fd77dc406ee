"""Run a call in a daemon thread, which never keeps the process from exiting.

fitting = Background(trainer.fit)
while not fitting.wait(0.5): ...
fitting.error          # what it raised, or None
"""

import threading
from collections.abc import Callable
from contextlib import ExitStack


class Background:
    """Starts immediately and leaves the main thread free to handle signals."""

    def __init__(self, call: Callable[[], object]) -> None:
        self.error: BaseException | None = None
        self._call, self._ended = call, threading.Event()
        threading.Thread(target=self._run, name="background", daemon=True).start()

    def wait(self, seconds: float) -> bool:
        """Whether it has ended, after waiting at most `seconds`."""
        return self._ended.wait(seconds)

    def _run(self) -> None:
        with ExitStack() as at_end:
            at_end.push(self._end)
            self._call()

    def _end(self, kind: object, error: BaseException | None, trace: object) -> bool:
        """Keep the exception for the waiting thread: nothing else in this one could handle it."""
        self.error = error
        self._ended.set()
        return True
