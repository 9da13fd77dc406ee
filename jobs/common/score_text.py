"""What `jobs.evaluate` prints: a table, one line a metric and a slice, and one JSON object.

metric              value   95 % interval     n  best constant
execution_accuracy  0.838  [0.757, 0.905]   136  0.191  [0.103, 0.287]
"""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from datasets_src.scoring.intervals import Interval
from datasets_src.scoring.paired import Comparison
from datasets_src.scoring.predictions import ScoredReplies
from datasets_src.types import Score
from jobs.common.summary import thinking_text

Against = tuple[ScoredReplies, Comparison]
Measured = Mapping[str, tuple[float, Interval, int]]
KEYS = ("n", "num_groups", "metrics", "intervals", "num_rows", "slices")
THINKING = ("num_thinking", "num_unclosed")


def score_lines(own: Score, constant: Score | None) -> list[str]:
    """The table of metrics, then of slices, each with the best constant answer."""
    values, baseline = _measured(own), _measured(constant)
    width = max(map(len, values))
    lines = [
        f"{'metric':{width}}  value   95 % interval     n{'  best constant' if baseline else ''}"
    ]
    for name, (value, interval, n) in values.items():
        line = f"{name:{width}}  {_cell(value, interval)} {n:5d}"
        lines.append(f"{line}  {_cell(*baseline[name][:2])}" if name in baseline else line)
    lines.append(f"{own.n:,} rows in {own.num_groups:,} groups, by which the intervals are")
    if own.num_thinking:
        lines.append(f"{thinking_text(own)}; such a block is not scored")
    if constant is not None:
        lines.append(f"best constant: {constant.constant_reply!r}")
    return lines


def score_json(own: Score, constant: Score | None, against: Against | None) -> dict[str, Any]:
    """The same as one JSON object; `constant` is null where there are no training rows."""
    record: dict[str, Any] = {"name": own.name, "metric": own.metric, **_json(own)}
    record["constant"] = (
        None if constant is None else {"reply": constant.constant_reply, **_json(constant)}
    )
    if against is not None:
        other, comparison = against[0].score, against[1]
        winner = {1: own.name, -1: other.name, 0: None}[comparison.winner]
        record["against"] = {"name": other.name, **_json(other)}
        record["comparison"] = {**asdict(comparison), "winner": winner}
    return record


def _measured(score: Score | None) -> Measured:
    """Value, interval and number of rows of each metric and slice."""
    if score is None:
        return {}
    of_metrics = {
        name: (value, score.intervals[name], score.num_rows[name])
        for name, value in score.metrics.items()
    }
    return of_metrics | {
        name: (part.value, part.interval, part.n) for name, part in score.slices.items()
    }


def _json(score: Score) -> dict[str, Any]:
    record = asdict(score)
    thinking = THINKING if score.num_thinking else ()
    return {key: record[key] for key in (*KEYS, *thinking)}


def _cell(value: float, interval: Interval) -> str:
    return f"{value:.3f}  [{interval[0]:.3f}, {interval[1]:.3f}]"
