"""A call in a thread of its own, which keeps the process from ending nowhere.

fitting = Background(trainer.fit)
while not fitting.wait(0.5): ...
fitting.error          # what it raised, or None
"""

import threading
from collections.abc import Callable
from contextlib import ExitStack


class Background:
    """Begins at once. The main thread is free to handle signals; a daemon thread is not joined."""

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
        """Keep what ended the call for whoever waits: nobody is above it in this thread."""
        self.error = error
        self._ended.set()
        return True
