"""From replies to a line of scores.jsonl: a task's score, means with 95 % intervals, the baseline.

score_replies(task, examples, ["SELECT 1", ...]) -> [{"execution_accuracy": 0.0, ...}, ...]
wilson_interval(9, 21) -> (0.245, 0.635)
"""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from types import ModuleType

from datasets_src.types import Example, Score

Z_95 = 1.959963984540054  # 97.5 % point of the normal distribution
NUM_CONSTANT_CANDIDATES = 8


def score_replies(
    task: ModuleType, examples: Sequence[Example], replies: Sequence[str]
) -> list[dict[str, float]]:
    """One dict of `task.METRICS` a pair, in their order.

    A task that can score many at once faster has `score_all(examples, replies)`.
    """
    assert len(examples) == len(replies), (len(examples), len(replies))
    if hasattr(task, "score_all"):
        rows: list[dict[str, float]] = task.score_all(examples, replies)
    else:
        rows = [task.score(e, reply) for e, reply in zip(examples, replies, strict=True)]
    for row in rows:
        assert set(row) == set(task.METRICS), (sorted(row), task.METRICS)
        assert all(0 <= value <= 1 for value in row.values()), row
    return rows


def wilson_interval(num_right: float, n: int) -> tuple[float, float]:
    """95 % score interval of a proportion (Wilson 1927); inside [0, 1] and never empty."""
    assert n > 0 and 0 <= num_right <= n, (num_right, n)
    share, z2 = num_right / n, Z_95**2
    centre = share + z2 / (2 * n)
    half = Z_95 * math.sqrt(share * (1 - share) / n + z2 / (4 * n * n))
    low, high = (centre - half) / (1 + z2 / n), (centre + half) / (1 + z2 / n)
    return (0.0 if num_right == 0 else low), (1.0 if num_right == n else high)


def mean_interval(values: Sequence[float]) -> tuple[float, float]:
    """95 % interval of a mean of values in [0, 1], by Student's t; one value says nothing."""
    n = len(values)
    if n < 2:
        return 0.0, 1.0
    mean = sum(values) / n
    variance = sum((value - mean) ** 2 for value in values) / (n - 1)
    half = t_quantile(n - 1) * math.sqrt(variance / n)
    return max(0.0, mean - half), min(1.0, mean + half)


def t_quantile(num_degrees: int) -> float:
    """97.5 % point of Student's t (Abramowitz and Stegun 26.7.5; exact for 1 and 2)."""
    if num_degrees == 1:
        return math.tan(math.pi * 0.475)
    if num_degrees == 2:
        return 0.95 * math.sqrt(2 / (1 - 0.95**2))
    z, v = Z_95, num_degrees
    g1 = (z**3 + z) / 4
    g2 = (5 * z**5 + 16 * z**3 + 3 * z) / 96
    g3 = (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384
    g4 = (79 * z**9 + 776 * z**7 + 1482 * z**5 - 1920 * z**3 - 945 * z) / 92160
    return z + g1 / v + g2 / v**2 + g3 / v**3 + g4 / v**4


def interval(values: Sequence[float]) -> tuple[float, float]:
    """Wilson's where all values are 0 or 1, else Student's."""
    if all(value in (0.0, 1.0) for value in values):
        return wilson_interval(sum(values), len(values))
    return mean_interval(values)


def summarise(
    name: str,
    *,
    step: int | None,
    metric: str,
    rows: Sequence[Mapping[str, float]],
    predictions: str,
    seconds: float,
    constant_reply: str | None = None,
) -> Score:
    """One line of scores.jsonl from the scores of `rows`, of which there is at least one."""
    assert rows, f"{name}: no row to summarise"
    columns = {key: [row[key] for row in rows] for key in rows[0]}
    assert metric in columns, (metric, sorted(columns))
    return Score(
        name=name,
        step=step,
        n=len(rows),
        metric=metric,
        metrics={key: sum(values) / len(values) for key, values in columns.items()},
        intervals={key: interval(values) for key, values in columns.items()},
        predictions=predictions,
        seconds=seconds,
        constant_reply=constant_reply,
    )


def best_constant(
    task: ModuleType, train: Sequence[Example], validation: Sequence[Example]
) -> tuple[str, list[dict[str, float]]]:
    """The reply that scores best on `validation` when given to every row, and its scores.

    Candidates are the most frequent targets of `train`; on a tie the more frequent one wins.
    """
    assert train and validation, (len(train), len(validation))
    counts = Counter(example.target for example in train)
    candidates = [target for target, _ in counts.most_common(NUM_CONSTANT_CANDIDATES)]
    num = len(validation)
    rows = score_replies(
        task,
        [example for _ in candidates for example in validation],
        [reply for reply in candidates for _ in validation],
    )
    scored = [rows[i * num : (i + 1) * num] for i in range(len(candidates))]
    means = [sum(row[task.METRIC] for row in part) / num for part in scored]
    best = means.index(max(means))
    return candidates[best], scored[best]
