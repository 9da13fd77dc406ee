"""What the teacher has used, and the cap on it.

meter = Meter(Prices(input_price=0.3, output_price=2.5, max_price=5.0))
with meter.reserve(Usage(900, 512)) as use:     the most that a call may use; over the cap: refused
    use(Usage(870, 240))                        what it did use
str(meter)                                      "1 answer, 1,110 tokens, 0.000861"

Prices are for a million tokens, in whatever currency. A call is only made if the cap holds even
where it uses all that was reserved, so the cap is never passed. What earlier starts of the same
build used counts too: the replies that are kept say it.
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from datasets_src.errors import UserError


@dataclass(frozen=True)
class Usage:
    """Tokens of calls."""

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
    """Of a million tokens, and what all calls together may cost and use; None is no limit."""

    input_price: float = 0.0
    output_price: float = 0.0
    max_price: float | None = None
    max_tokens: int | None = None

    def of(self, usage: Usage) -> float:
        """What these tokens cost."""
        prompt, completion = usage.prompt_tokens, usage.completion_tokens
        return (prompt * self.input_price + completion * self.output_price) / 1e6


class Meter:
    """Adds up what calls use; threads that would pass the cap wait for those before them."""

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
    def reserve(self, most: Usage) -> Iterator[Callable[[Usage], None]]:
        """Within the block `most` is reserved; after it, what the block reported is counted.

        UserError: even with no other call under way it would pass the cap.
        """
        with self._changed:
            while fault := self._fault(self.used + self._reserved + most):
                if not self._reserved.num_tokens:
                    raise UserError(fault)
                self._changed.wait()
            self._reserved += most
        try:
            yield self._use
        finally:
            with self._changed:
                self._reserved -= most
                self._changed.notify_all()

    def _use(self, usage: Usage) -> None:
        with self._changed:
            self.used += usage
            self.num_answers += 1

    def _fault(self, usage: Usage) -> str:
        """Which cap the usage would exceed."""
        prices = self.prices
        caps = [
            ("max_price", prices.max_price, prices.of(usage), prices.of(self.used)),
            ("max_tokens", prices.max_tokens, usage.num_tokens, self.used.num_tokens),
        ]
        for name, cap, wanted, used in caps:
            if cap is not None and wanted > cap:
                return (
                    f"teacher.{name}: the cap of {cap:,g} is reached: {used:,.6g} used by"
                    f" {self.num_answers:,} answers, all kept, and the next may pass it; raise it,"
                    f" e.g. {name}={_raised(cap, wanted):g}, then run the same command to resume"
                )
        return ""


def _raised(cap: float, wanted: float) -> float:
    return max(2 * cap, float(f"{1.1 * wanted:.2g}"))
