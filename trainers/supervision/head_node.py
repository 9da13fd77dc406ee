"""Watches the head node from a thread: a call that needs the head may never return.

with HeadNodeMonitor(give_up): ...      # give_up("head node 10.0.0.4:6379: no answer ...")
"""

import socket
import threading
import time
from collections.abc import Callable

import ray

CHECK_S = 1.0
# Ray's own processes exit 60 s after the head is lost, and take the driver with them.
LIMIT_S = 20.0


class HeadNodeMonitor:
    """Calls `give_up`, which does not return, once the head has not answered for LIMIT_S."""

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
        while not self._stop.wait(CHECK_S):
            if answers(self._address):
                answered = time.monotonic()
            elif time.monotonic() - answered > LIMIT_S:
                self._give_up(
                    f"head node {self._address}: no answer for {LIMIT_S:.0f} s; restart it or use "
                    "another cluster, then run the same command to resume"
                )
                return


def head_address() -> str:
    """host:port of the head node."""
    address: str = ray.get_runtime_context().gcs_address
    return address


def answers(address: str) -> bool:
    """Whether something accepts connections at `address`."""
    host, port = address.rsplit(":", 1)
    try:
        socket.create_connection((host, int(port)), timeout=1).close()
    except OSError:
        return False
    return True
