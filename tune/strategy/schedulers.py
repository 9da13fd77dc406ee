"""Which lines of trials go on, decided from scores and the order of the lines alone.

A line is compared with the lines before it that got to the same rung, and waits until each of
these has got there or has ended. So a decision does not depend on which line was faster, on how
many run at a time, or on what was killed meanwhile: the same scores give the same decisions, now
and after a restart. (Ray's own ASHA compares with whatever has arrived.)

    asha     goes on if it is among the best 1 of `reduction_factor`   (arXiv 1810.05934)
    median   goes on if its best so far reaches the median of the others' means so far, from the
             third other on (Vizier, KDD 2017)
    pbt      goes on unless it is among the worst 1 of `reduction_factor` of its generation, which
             is all lines that get to the rung (arXiv 1711.09846); it waits for all of them
    none     always goes on
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean, median

from tune.config import SweepConfig

MIN_OTHERS = 3


@dataclass(frozen=True)
class Table:
    """`rungs[i]` of line i, `scores` by (line, rung), the lines that failed. Higher is better."""

    rungs: Sequence[Sequence[int]]
    scores: Mapping[tuple[int, int], float]
    failed: frozenset[int] = frozenset()


@dataclass
class Judge:
    """Decides on one table; `goes_on(line, rung)` is None while it must wait for others."""

    settings: SweepConfig
    table: Table
    _known: dict[tuple[int, int], bool | None] = field(default_factory=dict)

    def goes_on(self, line: int, rung: int) -> bool | None:
        """Whether `line` is trained beyond `rung`, where it has its score."""
        key = (line, rung)
        if key not in self._known:
            self._known[key] = self._decide(line, rung)
        return self._known[key]

    def generation(self, rung: int) -> list[int] | None:
        """All lines that got to `rung`, the best first; None while one is on its way."""
        lines = [line for line, rungs in enumerate(self.table.rungs) if rung in rungs]
        arrived = {line: self._arrived(line, rung) for line in lines}
        if None in arrived.values():
            return None
        there = [line for line in lines if arrived[line]]
        return sorted(there, key=lambda line: (-self.table.scores[line, rung], line))

    def parents(self, rung: int) -> list[int] | None:
        """The lines of a generation that have a child, one for each that stops."""
        ranks = self.generation(rung)
        return None if ranks is None else ranks[: self._losers(ranks)]

    def _losers(self, ranks: Sequence[int]) -> int:
        """How many stop: each of them has a parent of its own."""
        return min(max(1, len(ranks) // self.settings.reduction_factor), len(ranks) // 2)

    def _decide(self, line: int, rung: int) -> bool | None:
        if self.settings.scheduler == "none":
            return True
        if self.settings.scheduler == "pbt":
            ranks = self.generation(rung)
            return None if ranks is None else line not in ranks[len(ranks) - self._losers(ranks) :]
        others = [other for other in range(line) if rung in self.table.rungs[other]]
        arrived = {other: self._arrived(other, rung) for other in others}
        if None in arrived.values():
            return None
        there = [other for other, is_there in arrived.items() if is_there]
        if self.settings.scheduler == "asha":
            return self._among_the_best(line, rung, there)
        return self._above_the_median(line, rung, there)

    def _arrived(self, line: int, rung: int) -> bool | None:
        """Whether a line got to `rung`: yes, no and never will, not yet."""
        if (line, rung) in self.table.scores:
            return True
        if line in self.table.failed:
            return False
        for before in self.table.rungs[line]:
            if before >= rung:
                break
            if (line, before) not in self.table.scores:
                return None
            if (on := self.goes_on(line, before)) is not True:
                return on
        return None

    def _among_the_best(self, line: int, rung: int, others: Sequence[int]) -> bool:
        scores = self.table.scores
        there = sorted((scores[other, rung] for other in [*others, line]), reverse=True)
        keep = math.ceil(len(there) / self.settings.reduction_factor)
        return scores[line, rung] >= there[keep - 1]

    def _above_the_median(self, line: int, rung: int, others: Sequence[int]) -> bool:
        if len(others) < MIN_OTHERS:
            return True
        means = [fmean(self._so_far(other, rung)) for other in others]
        return max(self._so_far(line, rung)) >= median(means)

    def _so_far(self, line: int, rung: int) -> list[float]:
        rungs = [r for r in self.table.rungs[line] if r <= rung]
        return [self.table.scores[line, r] for r in rungs]
