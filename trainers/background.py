"""A call in a thread of its own, which keeps the process from ending nowhere.

fitting = Background(trainer.fit)
while not fitting.wait(0.5): ...
fitting.error          # what it raised, or None
"""

import threading
from collections.abc import Callable


class Background:
    """Begins at once. The main thread is free to handle signals; a daemon thread is not joined."""

    def __init__(self, call: Callable[[], object]) -> None:
        self.error: BaseException | None = None
        self._call, self._ended = call, threading.Event()
        threading.Thread(target=self._run, name="background", daemon=True).start()

    def wait(self, seconds: float) -> bool:
        """Whether it has ended, after so many seconds at the most."""
        return self._ended.wait(seconds)

    def _run(self) -> None:
        try:
            self._call()
        except BaseException as error:
            self.error = error
        finally:
            self._ended.set()
