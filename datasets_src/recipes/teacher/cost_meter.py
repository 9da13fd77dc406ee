"""Token usage and cost of the teacher, with a hard cap.

meter = CostMeter(Prices(input_price=0.3, output_price=2.5, max_price=5.0))
with meter.reserve(Usage(900, 512)) as record_usage:    upper bound of a call; else UserError
    record_usage(Usage(870, 240))                       the usage that the reply reports
str(meter)                                              "1 answer, 1,110 tokens, 0.000861"

Prices are per million tokens, in any currency. A call starts only if the cap holds even when it
uses its whole reservation, so the cap is never exceeded. The usage of earlier starts of the same
build, read from the cached replies, counts too.
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from datasets_src.errors import UserError


@dataclass(frozen=True)
class Usage:
    """Tokens of one or more calls."""

    prompt_tokens: int = 0
    completion_tokens: int = 0

    def __add__(self, other: "Usage") -> "Usage":
        return Usage(
            self.prompt_tokens + other.prompt_tokens,
            self.completion_tokens + other.completion_tokens,
        )

    def __sub__(self, other: "Usage") -> "Usage":
        return self + Usage(-other.prompt_tokens, -other.completion_tokens)

    @property
    def num_tokens(self) -> int:
        return self.prompt_tokens + self.completion_tokens


@dataclass(frozen=True)
class Prices:
    """Prices per million tokens, and limits on all calls together; None: no limit."""

    input_price: float = 0.0
    output_price: float = 0.0
    max_price: float | None = None
    max_tokens: int | None = None

    def of(self, usage: Usage) -> float:
        """The cost of these tokens."""
        prompt, completion = usage.prompt_tokens, usage.completion_tokens
        return (prompt * self.input_price + completion * self.output_price) / 1e6


class CostMeter:
    """Sums usage; threads whose call could exceed the cap wait for the calls in flight."""

    def __init__(self, prices: Prices, *, used: Usage | None = None, num_answers: int = 0) -> None:
        self.prices = prices
        self.used = used or Usage()
        self.num_answers = num_answers
        self._reserved = Usage()
        self._changed = threading.Condition()

    def __str__(self) -> str:
        price = f", {self.prices.of(self.used):.6g}" if self.prices.of(self.used) else ""
        noun = "answer" if self.num_answers == 1 else "answers"
        return f"{self.num_answers:,} {noun}, {self.used.num_tokens:,} tokens{price}"

    @contextmanager
    def reserve(self, bound: Usage) -> Iterator[Callable[[Usage], None]]:
        """Reserve `bound` for the block; the block replaces it with the usage it records.

        Raises:
            UserError: the call could exceed the cap even with no other call in flight.
        """
        with self._changed:
            while fault := self._fault(self.used + self._reserved + bound):
                if not self._reserved.num_tokens:
                    raise UserError(fault)
                self._changed.wait()
            self._reserved += bound
        try:
            yield self._record
        finally:
            with self._changed:
                self._reserved -= bound
                self._changed.notify_all()

    def _record(self, usage: Usage) -> None:
        with self._changed:
            self.used += usage
            self.num_answers += 1

    def _fault(self, usage: Usage) -> str:
        """The cap that `usage` would exceed, as an error line; "" within all caps."""
        prices = self.prices
        caps: list[tuple[str, float | None, float, float]] = [
            ("max_price", prices.max_price, prices.of(usage), prices.of(self.used)),
            ("max_tokens", prices.max_tokens, usage.num_tokens, self.used.num_tokens),
        ]
        for name, cap, wanted, used in caps:
            if cap is not None and wanted > cap:
                return (
                    f"teacher.{name}: the cap of {cap:,g} is reached: {used:,.6g} used by"
                    f" {self.num_answers:,} answers, all kept, and the next may exceed it; to"
                    f" resume, run the same command with {name}={_raised(cap, wanted):g}"
                )
        return ""


def _raised(cap: float, wanted: float) -> float:
    return max(2 * cap, float(f"{1.1 * wanted:.2g}"))
