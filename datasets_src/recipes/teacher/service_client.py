"""Client of one service: reply cache, then rate limit, then retries with exponential backoff.

client = ServiceClient(Service("crossref", call), cache, stop=threading.Event())
client.fetch({"title": "On newts", "year": 2019})   -> the reply's JSON, already on disk

A build is network-bound, so the threads of one process are enough, and its global state (rate
limiter, spending cap, cache) is one object each. A pool of actors would need another actor to hold
that state, and each reply would pass through two processes.
"""

import random
import threading
from collections import defaultdict
from collections.abc import Callable, Mapping
from typing import Any

from datasets_src.errors import UserError
from datasets_src.recipes.contract import NoAnswer, Service, ServiceFault
from datasets_src.recipes.teacher.cache import ReplyCache, request_key
from datasets_src.recipes.teacher.cost_meter import CostMeter, Usage
from datasets_src.recipes.teacher.rate_limiter import BuildStopped, RateLimiter

FIRST_WAIT_S, LONGEST_WAIT_S = 0.5, 60.0
LONGEST_RETRY_AFTER_S = 3600.0  # a longer Retry-After means: not today
STOPPING_STATUS = (401, 402, 403, 404)
UsageOf = Callable[[Mapping[str, Any]], Usage]


class ServiceDown(RuntimeError):
    """A service failed in all tries of a request; the replies received so far are kept."""


class ServiceClient:
    """Blocking and thread-safe; concurrent calls with the same request share one reply.

    Args:
        stop: set when the build ends; interrupts all waits.
        max_usage: upper bound of the tokens of a request.
        reply_usage: tokens that a reply reports as used.
    """

    def __init__(
        self,
        service: Service,
        cache: ReplyCache,
        *,
        stop: threading.Event,
        limiter: RateLimiter | None = None,
        meter: CostMeter | None = None,
        max_usage: UsageOf = lambda request: Usage(),
        reply_usage: UsageOf = lambda reply: Usage(),
    ) -> None:
        self.service = service
        self.meter = meter
        self.usage_by_request: dict[str, Usage] = {}  # includes requests found in the cache
        self.limiter = limiter or RateLimiter(requests_per_minute=service.requests_per_minute)
        self._cache, self._stop = cache, stop
        self._max_usage, self._reply_usage = max_usage, reply_usage
        self._slots = threading.BoundedSemaphore(service.max_parallel)
        self._lock_by_key: dict[str, threading.Lock] = defaultdict(threading.Lock)
        self._lock = threading.Lock()

    def fetch(self, request: Mapping[str, Any]) -> Any:
        """The reply to a request, from the cache or from the service.

        Raises:
            NoAnswer: the service rejects this request (a 4xx).
            ServiceDown: it gave no complete answer in `max_tries` tries.
            UserError: the key or the address is wrong, or a cap is reached.
            BuildStopped: the build is ending.
        """
        key = request_key(self.service.name, request)
        with self._lock:
            request_lock = self._lock_by_key[key]
        with request_lock:
            reply = self._cache.get(key)
            if reply is None:
                with self._slots:
                    reply = self._retry(request, key)
        self.usage_by_request[key] = self._reply_usage(reply)
        return reply

    def _retry(self, request: Mapping[str, Any], key: str) -> Any:
        bound = self._max_usage(request)
        for attempt in range(1, self.service.max_tries + 1):
            try:
                return self._metered_call(request, key, bound)
            except ServiceFault as fault:
                wait_s = self._backoff_s(fault, attempt)
            if self._stop.wait(wait_s):
                raise BuildStopped
        raise AssertionError("the last try raises")

    def _metered_call(self, request: Mapping[str, Any], key: str, bound: Usage) -> Any:
        """One try; the reply is on disk before its reservation is released."""
        if self.meter is None:
            return self._call(request, key, bound)
        with self.meter.reserve(bound) as record_usage:
            reply = self._call(request, key, bound)
            record_usage(self._reply_usage(reply))
        return reply

    def _call(self, request: Mapping[str, Any], key: str, bound: Usage) -> Any:
        self.limiter.wait(bound.num_tokens, self._stop)
        reply = self.service.call(request)
        self._cache.put(key, self.service.name, reply)
        self.limiter.settle(bound.num_tokens, self._reply_usage(reply).num_tokens)
        return reply

    def _backoff_s(self, fault: ServiceFault, attempt: int) -> float:
        """Seconds to wait before the next try; raises if a retry cannot help."""
        name, status = self.service.name, fault.status
        if status in STOPPING_STATUS:
            raise UserError(
                f"{name}: {fault}; check its address and its key, then run the same command to"
                " resume"
            ) from fault
        if status is not None and status < 500 and status not in (408, 429):
            raise NoAnswer(f"refused by {name} ({status})", fault.detail) from fault
        tries = self.service.max_tries
        if attempt == tries or fault.retry_after_s > LONGEST_RETRY_AFTER_S:
            retry_after = (
                f", which asks to wait {fault.retry_after_s:.0f} s" if attempt < tries else ""
            )
            raise ServiceDown(
                f"{name}: no answer in {attempt} tries, last {fault}{retry_after}"
            ) from fault
        if fault.retry_after_s:
            self.limiter.pause(fault.retry_after_s)
        # Jitter, so that threads that failed together do not retry together.
        longest_s = min(LONGEST_WAIT_S, FIRST_WAIT_S * 2 ** (attempt - 1))
        return max(fault.retry_after_s, random.uniform(longest_s / 2, longest_s))
