"""One service, asked with patience: what is kept first, then at its pace, then again after faults.

asker = ServiceClient(Service("crossref", call), cache, stop=threading.Event())
asker.ask({"title": "On newts", "year": 2019})      -> the reply's JSON, on the disk by now

The work waits for the network, so threads of one process are enough, and all that must be global
(the pace, the cap, the replies) is one object in it; a pool of actors would need one more to hold
these, and each reply would pass through two processes.
"""

import random
import threading
from collections import defaultdict
from collections.abc import Callable, Mapping
from typing import Any

from datasets_src.errors import UserError
from datasets_src.recipes.contract import NoAnswer, Service, ServiceFault
from datasets_src.recipes.teacher.cache import ReplyCache, request_key
from datasets_src.recipes.teacher.meter import Meter, Usage
from datasets_src.recipes.teacher.pace import Pace, Stopping

FIRST_WAIT_S, LONGEST_WAIT_S = 0.5, 60.0
LONGEST_ASKED_S = 3600.0  # a service that asks for more is out for today
STOPPING_STATUS = (401, 402, 403, 404)
Measure = Callable[[Mapping[str, Any]], Usage]


class ServiceDown(RuntimeError):
    """A service gave no answer in all its tries; what was answered so far is kept."""


class ServiceClient:
    """Blocking and thread-safe; the same request is never under way twice.

    `most` is an upper bound of what a request uses, `used` is what a reply has used.
    """

    def __init__(
        self,
        service: Service,
        cache: ReplyCache,
        *,
        stop: threading.Event,
        pace: Pace | None = None,
        meter: Meter | None = None,
        most: Measure = lambda request: Usage(),
        used: Measure = lambda reply: Usage(),
    ) -> None:
        self.service = service
        self.meter = meter
        self.consulted: dict[str, Usage] = {}  # of each request, kept or new
        self._cache, self._stop = cache, stop
        self._pace = pace or Pace(requests_per_minute=service.requests_per_minute)
        self._most, self._used = most, used
        self._slots = threading.BoundedSemaphore(service.max_parallel)
        self._of_key: dict[str, threading.Lock] = defaultdict(threading.Lock)
        self._lock = threading.Lock()

    def ask(self, request: Mapping[str, Any]) -> Any:
        """The reply to a request, kept or new.

        Raises:
            NoAnswer: the service refuses this request (a 4xx).
            ServiceDown: it gave no whole answer in `max_tries` tries.
            UserError: the key or the address is wrong, or a cap is reached.
            Stopping: the build ends.
        """
        key = request_key(self.service.name, request)
        with self._lock:
            under_way = self._of_key[key]
        with under_way:
            reply = self._cache.get(key)
            if reply is None:
                with self._slots:
                    reply = self._try(request, key)
        self.consulted[key] = self._used(reply)
        return reply

    def _try(self, request: Mapping[str, Any], key: str) -> Any:
        most = self._most(request)
        for attempt in range(1, self.service.max_tries + 1):
            try:
                return self._once(request, key, most)
            except ServiceFault as fault:
                wait_s = self._wait_s(fault, attempt)
            if self._stop.wait(wait_s):
                raise Stopping
        raise AssertionError("the last try raises")

    def _once(self, request: Mapping[str, Any], key: str, most: Usage) -> Any:
        """One call; its reply is kept before its tokens count as used no longer."""
        if self.meter is None:
            return self._call(request, key, most)
        with self.meter.reserve(most) as use:
            reply = self._call(request, key, most)
            use(self._used(reply))
        return reply

    def _call(self, request: Mapping[str, Any], key: str, most: Usage) -> Any:
        self._pace.wait(most.num_tokens, self._stop)
        reply = self.service.call(request)
        self._cache.put(key, self.service.name, reply)
        self._pace.settle(most.num_tokens, self._used(reply).num_tokens)
        return reply

    def _wait_s(self, fault: ServiceFault, attempt: int) -> float:
        """How long to wait before the next try; raises where there is none."""
        name, status = self.service.name, fault.status
        if status in STOPPING_STATUS:
            raise UserError(
                f"{name}: {fault}; check address and key, then run the same command to resume"
            ) from fault
        if status is not None and status < 500 and status not in (408, 429):
            raise NoAnswer(f"refused by {name} ({status})", fault.detail) from fault
        tries = self.service.max_tries
        if attempt == tries or fault.retry_after_s > LONGEST_ASKED_S:
            asked = f", which asks to wait {fault.retry_after_s:.0f} s" if attempt < tries else ""
            raise ServiceDown(
                f"{name}: no answer in {attempt} tries, last {fault}{asked}"
            ) from fault
        if fault.retry_after_s:
            self._pace.pause(fault.retry_after_s)
        # Jitter, so that threads that failed together do not come back together.
        longest_s = min(LONGEST_WAIT_S, FIRST_WAIT_S * 2 ** (attempt - 1))
        return max(fault.retry_after_s, random.uniform(longest_s / 2, longest_s))
