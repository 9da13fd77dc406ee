"""95 % confidence intervals of a mean over grouped rows, by cluster bootstrap.

mean_interval([1, 1, 0, 1, …], ["19", "19", "23", "23", …]) -> (0.319, 0.481)

Paraphrases of one question, or questions on one text, are right or wrong together, so groups are
independent draws but rows are not. Groups are resampled with their rows (Field and Welsh,
"Bootstrapping clustered data", JRSS B 69, 2007); the mean of a resample is its sum over its number
of rows. The ends are percentiles, widened by the ratio of Student's t to the normal distribution
(Hesterberg, "What Teachers Should Know About the Bootstrap", The American Statistician 69, 2015:
plain percentiles are too narrow for few groups).

A bootstrap cannot estimate variation that is not in the sample: if all rows are right, its interval
has zero width, and if k groups differ from the others, a resample has none of them with probability
exp(-k). From k = 4 on that is less than the 2.5 % beyond an end. With fewer such groups, or fewer
than MIN_GROUPS in all, the interval is Wilson's for a share of as many draws as there are groups
(JASA 22, 1927). Values in [0, 1] vary less than a share of the same mean, so it is conservative.
Unbounded values, such as losses, have Student's interval over the groups' means instead.

In simulations of 8 to 68 groups (docs/scoring.md) these intervals cover the true mean in at least
92 % of cases, plain percentiles in as few as 34 %.
"""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Interval = tuple[float, float]
Z_95 = 1.959963984540054  # 97.5 % point of the normal distribution
T_95 = (12.7062, 4.3027, 3.1824)  # Student's 97.5 % point for 1, 2 and 3 degrees of freedom
NUM_RESAMPLES = 10_000
SEED = 42
MIN_GROUPS = 8
MIN_DIFFERING = 4
CHUNK = 2_000_000  # draws in memory at a time


def mean_interval(
    values: Sequence[float], groups: Sequence[str], *, bounded: bool = True
) -> Interval:
    """The interval of the mean of `values`; it contains the sample mean.

    Args:
        groups: the group of each row.
        bounded: the values are in [0, 1].
    """
    sums, sizes = by_group(values, groups)
    if not is_degenerate(sums, sizes):
        return bootstrap_interval(sums, sizes)
    if bounded:
        return wilson_interval(float(sums.sum() / sizes.sum()), len(sums))
    return student_interval(sums, sizes)


def by_group(values: Sequence[float] | Floats, groups: Sequence[str]) -> tuple[Floats, Floats]:
    """Sums and sizes, float64 [num_groups] each, of the groups in sorted order."""
    assert len(values) == len(groups) > 0, (len(values), len(groups))
    _, codes = np.unique(np.asarray(groups, dtype=object), return_inverse=True)
    weights = np.asarray(values, dtype=np.float64)
    sums, sizes = np.bincount(codes, weights), np.bincount(codes)
    return sums.astype(np.float64), sizes.astype(np.float64)


def is_degenerate(sums: Floats, sizes: Floats) -> bool:
    """Whether too few groups exist, or differ from the median, for a bootstrap."""
    means = sums / sizes
    num_differing = np.count_nonzero(means != np.median(means))
    return bool(len(means) < MIN_GROUPS or num_differing < MIN_DIFFERING)


def bootstrap_interval(sums: Floats, sizes: Floats) -> Interval:
    """Widened percentiles of the means of NUM_RESAMPLES resamples of the groups."""
    num_groups = len(sums)
    rng = np.random.default_rng(SEED)
    per_chunk = max(1, CHUNK // num_groups)
    means = []
    for start in range(0, NUM_RESAMPLES, per_chunk):
        num = min(per_chunk, NUM_RESAMPLES - start)
        drawn = rng.integers(0, num_groups, (num, num_groups), dtype=np.int32)
        means.append(sums[drawn].sum(axis=1) / sizes[drawn].sum(axis=1))
    width = math.sqrt(num_groups / (num_groups - 1)) * t_quantile(num_groups - 1)
    tail = math.erfc(width / math.sqrt(2)) / 2
    low, high = np.quantile(np.concatenate(means), [tail, 1 - tail])
    mean = sums.sum() / sizes.sum()
    return float(min(low, mean)), float(max(high, mean))


def wilson_interval(share: float, n: int) -> Interval:
    """95 % score interval of a share of `n` draws, within [0, 1] and of positive width."""
    assert n > 0 and 0 <= share <= 1, (share, n)
    z2 = Z_95**2
    centre = share + z2 / (2 * n)
    half = Z_95 * math.sqrt(share * (1 - share) / n + z2 / (4 * n * n))
    low, high = (centre - half) / (1 + z2 / n), (centre + half) / (1 + z2 / n)
    return (0.0 if share == 0 else low), (1.0 if share == 1 else high)


def student_interval(sums: Floats, sizes: Floats) -> Interval:
    """95 % interval of the mean from the groups' means; of zero width for one group."""
    mean, num_groups = float(sums.sum() / sizes.sum()), len(sums)
    if num_groups == 1:
        return mean, mean
    spread = float((sums / sizes).std(ddof=1)) / math.sqrt(num_groups)
    half = t_quantile(num_groups - 1) * spread
    return mean - half, mean + half


def t_quantile(num_degrees: int) -> float:
    """97.5 % point of Student's t, to 0.1 % (from 4 degrees on Abramowitz and Stegun 26.7.5)."""
    if num_degrees <= len(T_95):
        return T_95[num_degrees - 1]
    z, v = Z_95, num_degrees
    g1 = (z**3 + z) / 4
    g2 = (5 * z**5 + 16 * z**3 + 3 * z) / 96
    g3 = (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384
    g4 = (79 * z**9 + 776 * z**7 + 1482 * z**5 - 1920 * z**3 - 945 * z) / 92160
    return z + g1 / v + g2 / v**2 + g3 / v**3 + g4 / v**4
