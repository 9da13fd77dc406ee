"""Client-side rate limit for one service, shared by all threads: requests and tokens per minute.

limiter = RateLimiter(requests_per_minute=600, tokens_per_minute=200_000)
limiter.wait(1_200, stop)       returns when a request of 1,200 tokens may be sent
limiter.pause(2.0)              the service sent Retry-After: 2

Requests are spaced evenly: services often enforce a limit per minute by the second.
"""

import threading
import time
from collections.abc import Callable


class BuildStopped(Exception):
    """The build is ending, so no new request is sent."""


class RateLimiter:
    """Decides when the next request may be sent; `clock` returns monotonic seconds."""

    def __init__(
        self,
        *,
        requests_per_minute: float = float("inf"),
        tokens_per_minute: float = float("inf"),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._gap_s = 60 / requests_per_minute
        self._token_s = 60 / tokens_per_minute
        self._clock = clock
        self._lock = threading.Lock()
        self._next = self.paused_until = 0.0

    def wait(self, num_tokens: int, stop: threading.Event) -> None:
        """Reserve the next send time and wait for it.

        Raises:
            BuildStopped: `stop` was set while waiting.
        """
        while True:
            with self._lock:
                send_at = max(self._clock(), self._next, self.paused_until)
                self._next = send_at + max(self._gap_s, self._token_s * num_tokens)
            if stop.wait(send_at - self._clock()):
                raise BuildStopped
            if self.paused_until <= send_at:  # no pause was requested while this thread slept
                return

    def settle(self, num_estimated: int, num_used: int) -> None:
        """Correct the schedule once the tokens that a request really used are known."""
        with self._lock:
            self._next += self._token_s * (num_used - num_estimated)

    def pause(self, seconds: float) -> None:
        """Send nothing for `seconds`, in any thread."""
        with self._lock:
            self.paused_until = max(self.paused_until, self._clock() + seconds)
