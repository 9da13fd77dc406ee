"""The head of the cluster is watched from a thread: a call that needs it may never return.

with HeadNodeMonitor(give_up): ...      # give_up("the cluster's head 10.0.0.4:6379 has not ...")
"""

import socket
import threading
import time
from collections.abc import Callable

import ray

LOOK_EVERY_S = 1.0
# Ray's own processes give up 60 s after the head is lost, and take the driver along.
LIMIT_S = 20.0


class HeadNodeMonitor:
    """Calls `give_up`, which does not return, when nobody has answered for a while."""

    def __init__(self, give_up: Callable[[str], object]) -> None:
        self._give_up, self._address = give_up, head_address()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="head", daemon=True)

    def __enter__(self) -> "HeadNodeMonitor":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()

    def _watch(self) -> None:
        answered = time.monotonic()
        while not self._stop.wait(LOOK_EVERY_S):
            if answers(self._address):
                answered = time.monotonic()
            elif time.monotonic() - answered > LIMIT_S:
                self._give_up(
                    f"the cluster's head {self._address} has not answered for {LIMIT_S:.0f} s; "
                    "start it again, or another cluster"
                )
                return


def head_address() -> str:
    """Host and port of the cluster's head."""
    address: str = ray.get_runtime_context().gcs_address
    return address


def answers(address: str) -> bool:
    """Whether something takes connections there."""
    host, port = address.rsplit(":", 1)
    try:
        socket.create_connection((host, int(port)), timeout=1).close()
    except OSError:
        return False
    return True
