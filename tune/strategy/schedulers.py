"""Early stopping: which trial groups continue, decided from scores and the groups' order alone.

A group is compared with the earlier groups that reached the same rung, and waits until each of
them has reached it or has ended. So a decision depends neither on speed, nor on the number of
concurrent trials, nor on what was killed: the same scores give the same decisions, also after a
restart. (Ray Tune's ASHA compares with the results that have arrived so far.)

    asha     continues if among the best 1 of `reduction_factor`   (arXiv 1810.05934)
    median   continues if its best score so far reaches the median of the other groups' mean scores
             so far; applies from the third other group on (Vizier, KDD 2017)
    pbt      continues unless among the worst 1 of `reduction_factor` of its generation, which is
             all groups that reach the rung (arXiv 1711.09846); waits for all of them
    none     always continues
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean, median

from tune.config import SweepConfig

MIN_OTHERS = 3


@dataclass(frozen=True)
class RungScores:
    """What decisions depend on; a higher score is better.

    Attributes:
        rungs: of each group, by its number.
        scores: by (group, rung).
        failed: numbers of the groups that failed.
    """

    rungs: Sequence[Sequence[int]]
    scores: Mapping[tuple[int, int], float]
    failed: frozenset[int] = frozenset()


@dataclass
class Scheduler:
    """Decides on one state of the scores; `continues` is None while a group waits for others."""

    settings: SweepConfig
    table: RungScores
    _decided: dict[tuple[int, int], bool | None] = field(default_factory=dict)

    def continues(self, group: int, rung: int) -> bool | None:
        """Whether `group`, which has its score at `rung`, is trained beyond it."""
        key = (group, rung)
        if key not in self._decided:
            self._decided[key] = self._decide(group, rung)
        return self._decided[key]

    def generation(self, rung: int) -> list[int] | None:
        """All groups that reached `rung`, the best first; None while one may still reach it."""
        groups = [group for group, rungs in enumerate(self.table.rungs) if rung in rungs]
        reached = {group: self._reached(group, rung) for group in groups}
        if None in reached.values():
            return None
        ranked = [group for group in groups if reached[group]]
        return sorted(ranked, key=lambda group: (-self.table.scores[group, rung], group))

    def parents(self, rung: int) -> list[int] | None:
        """The groups of a generation that get a child, one for each group that stops."""
        ranked = self.generation(rung)
        return None if ranked is None else ranked[: self._num_stopped(ranked)]

    def _num_stopped(self, ranked: Sequence[int]) -> int:
        """At most half of a generation, so that each stopped group has a parent of its own."""
        return min(max(1, len(ranked) // self.settings.reduction_factor), len(ranked) // 2)

    def _decide(self, group: int, rung: int) -> bool | None:
        if self.settings.scheduler == "none":
            return True
        if self.settings.scheduler == "pbt":
            ranked = self.generation(rung)
            if ranked is None:
                return None
            return group not in ranked[len(ranked) - self._num_stopped(ranked) :]
        earlier = [other for other in range(group) if rung in self.table.rungs[other]]
        reached = {other: self._reached(other, rung) for other in earlier}
        if None in reached.values():
            return None
        others = [other for other, has_reached in reached.items() if has_reached]
        if self.settings.scheduler == "asha":
            return self._among_the_best(group, rung, others)
        return self._above_the_median(group, rung, others)

    def _reached(self, group: int, rung: int) -> bool | None:
        """Whether a group reached `rung`; False if it never will, None if it still may."""
        if (group, rung) in self.table.scores:
            return True
        if group in self.table.failed:
            return False
        for before in self.table.rungs[group]:
            if before >= rung:
                break
            if (group, before) not in self.table.scores:
                return None
            if (continues := self.continues(group, before)) is not True:
                return continues
        return None

    def _among_the_best(self, group: int, rung: int, others: Sequence[int]) -> bool:
        scores = self.table.scores
        ranked = sorted((scores[other, rung] for other in [*others, group]), reverse=True)
        num_kept = math.ceil(len(ranked) / self.settings.reduction_factor)
        return scores[group, rung] >= ranked[num_kept - 1]

    def _above_the_median(self, group: int, rung: int, others: Sequence[int]) -> bool:
        if len(others) < MIN_OTHERS:
            return True
        means = [fmean(self._scores_up_to(other, rung)) for other in others]
        return max(self._scores_up_to(group, rung)) >= median(means)

    def _scores_up_to(self, group: int, rung: int) -> list[float]:
        rungs = [r for r in self.table.rungs[group] if r <= rung]
        return [self.table.scores[group, r] for r in rungs]
