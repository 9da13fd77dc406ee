"""Paired test of two models on the same rows: difference, confidence interval and p-value.

compare([1, 1, 0, …], [0, 1, 0, …], groups).summary_line("step-000275", "base")
"step-000275 beats base by 0.434 [0.345, 0.522], p < 0.001 (136 rows in 68 groups)"

Rows of a group are correlated (intervals.py), so the interval resamples groups, and p comes from
flipping the signs of groups: if A and B were equally good, the sign of a group's difference would
be arbitrary, so the sum of all differences is compared with the sums under other signs (Fisher,
"The Design of Experiments", 1935; whole groups: Winkler et al., "Multi-level block permutation",
NeuroImage 123, 2015; for language models: Dror et al., "The Hitchhiker's Guide to Testing
Statistical Significance in NLP", ACL 2018). Up to MAX_EXACT groups all signs are enumerated; beyond
that NUM_FLIPS are drawn, and p counts the observed signs as one more draw (Phipson and Smyth,
"Permutation p-values should never be zero", 2010).

A beats B if p is below ALPHA and the interval is above 0; near the boundary only one may hold. The
best of several checkpoints was selected on these same rows, so some of its lead over the second
best is luck; no p-value here corrects for that selection.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from datasets_src.scoring.intervals import (
    CHUNK,
    SEED,
    Floats,
    Interval,
    bootstrap_interval,
    by_group,
    is_degenerate,
    student_interval,
    wilson_interval,
)
from datasets_src.task import EVAL_LOSS

ALPHA = 0.05
NUM_FLIPS = 10_000
MAX_EXACT = 13  # groups; 2**13 = 8,192 signs
TOLERANCE = 1e-9  # sums equal but for rounding count as equal


@dataclass(frozen=True)
class Comparison:
    """Mean of A minus mean of B over `n` rows in `num_groups` groups, its 95 % interval, and p.

    If lower values are better, it is B minus A.
    """

    difference: float
    interval: Interval
    p: float
    n: int
    num_groups: int

    @property
    def winner(self) -> int:
        """1 if A beats B, -1 if B beats A, 0 if they are not distinguishable."""
        low, high = self.interval
        if self.p >= ALPHA or low <= 0 <= high:
            return 0
        return 1 if low > 0 else -1

    def summary_line(self, a: str, b: str) -> str:
        """The result in one sentence, with A and B under the given names."""
        low, high = self.interval
        difference, p = self.difference, self.p_text()
        if self.winner == 0:
            return (
                f"{a} and {b}: not distinguishable on {self.n:,} rows in {self.num_groups:,} groups"
                f" (difference {difference:.3f} [{low:.3f}, {high:.3f}], {p})"
            )
        if self.winner < 0:
            a, b, difference, low, high = b, a, -difference, -high, -low
        return (
            f"{a} beats {b} by {difference:.3f} [{low:.3f}, {high:.3f}], {p}"
            f" ({self.n:,} rows in {self.num_groups:,} groups)"
        )

    def p_text(self) -> str:
        """E.g. "p < 0.001" or "p = 0.62"."""
        return "p < 0.001" if self.p < 0.001 else f"p = {self.p:.2g}"


def compare(
    a: Sequence[float], b: Sequence[float], groups: Sequence[str], *, bounded: bool = True
) -> Comparison:
    """Compare the scores of A and B on the same rows.

    Args:
        groups: the group of each row.
        bounded: the scores are in [0, 1].
    """
    assert len(a) == len(b), (len(a), len(b))
    differences = np.asarray(a, dtype=np.float64) - np.asarray(b, dtype=np.float64)
    sums, sizes = by_group(differences, groups)
    if not is_degenerate(sums, sizes):
        interval = bootstrap_interval(sums, sizes)
    elif bounded:
        interval = _wide_interval(differences, len(sums))
    else:
        interval = student_interval(sums, sizes)
    return Comparison(
        difference=float(differences.mean()),
        interval=interval,
        p=sign_flip_p(sums),
        n=len(differences),
        num_groups=len(sums),
    )


def compare_rows(
    a: Iterable[Mapping[str, Any]],
    b: Iterable[Mapping[str, Any]],
    *,
    metric: str,
    greater_is_better: bool = True,
) -> Comparison | None:
    """Compare two prediction files on the ids that have `metric` in both; None without any.

    A row is {"id": "s0007", "group": "19", "scores": {"execution_accuracy": 1.0}, …}.
    """
    theirs = {row["id"]: row["scores"] for row in b if metric in row["scores"]}
    pairs = [
        (row["scores"][metric], theirs[row["id"]][metric], row["group"])
        for row in a
        if metric in row["scores"] and row["id"] in theirs
    ]
    if not pairs:
        return None
    mine, other, groups = zip(*pairs, strict=True)
    better, worse = (mine, other) if greater_is_better else (other, mine)
    return compare(better, worse, groups, bounded=metric != EVAL_LOSS)


def sign_flip_p(sums: Floats) -> float:
    """Two-sided p-value of the groups' summed differences [num_groups] under random signs."""
    sums = sums[np.abs(sums) > TOLERANCE]
    num_groups, observed = len(sums), abs(sums.sum()) - TOLERANCE
    if num_groups <= MAX_EXACT:
        bits = np.arange(2**num_groups)[:, None] >> np.arange(num_groups) & 1
        return float(np.mean(np.abs((2 * bits - 1) @ sums) >= observed))
    rng = np.random.default_rng(SEED)
    per_chunk = max(1, CHUNK // num_groups)
    num_beyond = 0
    for start in range(0, NUM_FLIPS, per_chunk):
        num = min(per_chunk, NUM_FLIPS - start)
        signs = 2.0 * rng.integers(0, 2, (num, num_groups), dtype=np.int8) - 1
        num_beyond += int(np.count_nonzero(np.abs(signs @ sums) >= observed))
    return (1 + num_beyond) / (1 + NUM_FLIPS)


def _wide_interval(differences: Floats, num_groups: int) -> Interval:
    """Replaces a degenerate bootstrap: Wilson intervals of A's and of B's wins, combined.

    From A's lower minus B's upper end to A's upper minus B's lower end.
    """
    wins = wilson_interval(float(np.maximum(differences, 0).mean()), num_groups)
    losses = wilson_interval(float(np.maximum(-differences, 0).mean()), num_groups)
    return wins[0] - losses[1], wins[1] - losses[0]
