"""The rate limit of a service, over all threads: requests and tokens per minute.

pace = Pace(requests_per_minute=600, tokens_per_minute=200_000)
pace.wait(1_200, stop)          returns when a request of 1,200 tokens may be sent
pace.pause(2.0)                 the service asked for 2 s of silence

Requests are spread evenly: a limit by the minute is often kept by the second.
"""

import threading
import time


class Stopping(Exception):
    """The build ends, so nothing new is asked."""


class Pace:
    """When the next request may be sent."""

    def __init__(
        self,
        *,
        requests_per_minute: float = float("inf"),
        tokens_per_minute: float = float("inf"),
    ) -> None:
        self._gap_s = 60 / requests_per_minute
        self._token_s = 60 / tokens_per_minute
        self._lock = threading.Lock()
        self._next = self._quiet_until = 0.0

    def wait(self, num_tokens: int, stop: threading.Event) -> None:
        """Take the next place in the queue and wait for it. Stopping: `stop` was set meanwhile."""
        while True:
            with self._lock:
                place = max(time.monotonic(), self._next, self._quiet_until)
                self._next = place + max(self._gap_s, self._token_s * num_tokens)
            if stop.wait(place - time.monotonic()):
                raise Stopping
            if self._quiet_until <= place:  # no pause was asked for while we slept
                return

    def settle(self, num_estimated: int, num_used: int) -> None:
        """Give back the time of tokens that were not used, or take that of more."""
        with self._lock:
            self._next += self._token_s * (num_used - num_estimated)

    def pause(self, seconds: float) -> None:
        """Send nothing for so long."""
        with self._lock:
            self._quiet_until = max(self._quiet_until, time.monotonic() + seconds)
