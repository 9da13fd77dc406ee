"""Whether A answers the same rows better than B: the difference, its interval, and a p-value.

compare([1, 1, 0, …], [0, 1, 0, …], groups).summary_line("step-000275", "base")
"step-000275 beats base by 0.434 [0.345, 0.522], p < 0.001 (136 rows in 68 groups)"

Rows of a group rise and fall together (intervals.py), so it is groups that are resampled for the
interval, and groups whose sign is flipped for p: if A and B were equally good, what a group gives
to one of them it could as well have given to the other, so the sum of all differences is compared
with the sums under other signs (Fisher, "The Design of Experiments", 1935; whole groups: Winkler et
al., "Multi-level block permutation", NeuroImage 123, 2015; for language models: Dror et al., "The
Hitchhiker's Guide to Testing Statistical Significance in NLP", ACL 2018). Under all signs where
these are few; else under NUM_FLIPS of them, and p counts the signs as they are as one more (Phipson
and Smyth, "Permutation p-values should never be zero", 2010).

A is said to beat B where p is below ALPHA and the interval is above 0, which near the edge may
not agree. The best of several checkpoints is the best on these very rows, so some of its lead
over the second best is luck; no p-value here accounts for that choice.
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
    """Mean of A less mean of B over `n` rows in `num_groups` groups, its 95 % interval, and p.

    Where the lower value is the better one, it is B's less A's.
    """

    difference: float
    interval: Interval
    p: float
    n: int
    num_groups: int

    @property
    def winner(self) -> int:
        """1 where A beats B, -1 where B beats A, 0 where they are not to be told apart."""
        low, high = self.interval
        if self.p >= ALPHA or low <= 0 <= high:
            return 0
        return 1 if low > 0 else -1

    def summary_line(self, a: str, b: str) -> str:
        """One sentence, A and B under these names."""
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
        """ "p < 0.001", "p = 0.62" """
        return "p < 0.001" if self.p < 0.001 else f"p = {self.p:.2g}"


def compare(
    a: Sequence[float], b: Sequence[float], groups: Sequence[str], *, bounded: bool = True
) -> Comparison:
    """Scores of A and B on the same rows, row i being of `groups[i]`; `bounded`: in [0, 1]."""
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
    """Of two files of predictions, by the ids that both have with `metric`; None without any.

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
    """Two-sided p of the groups' summed differences, all signs being equally likely."""
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
    """Where a bootstrap says nothing: Wilson's of what A wins and of what B wins, put together.

    The least that A may win less the most that B may, and the other way round.
    """
    wins = wilson_interval(float(np.maximum(differences, 0).mean()), num_groups)
    losses = wilson_interval(float(np.maximum(-differences, 0).mean()), num_groups)
    return wins[0] - losses[1], wins[1] - losses[0]
