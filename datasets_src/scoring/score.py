"""From replies to a line of scores.jsonl: task scores, means with 95 % intervals, the baseline.

score_replies(task, examples, ["SELECT 1", ...]) -> [{"execution_accuracy": 0.0, ...}, ...]
explain_replies(task, examples, replies, rows)   -> ["other rows than the reference", ...]
summarise("base", task=task, metric=task.METRIC, examples=examples, rows=rows, ...) -> Score
"""

import math
from collections import Counter
from collections.abc import Mapping, Sequence

from datasets_src.chat.thinking import NO_THINKING, Thinking, answer_of
from datasets_src.errors import UserError
from datasets_src.scoring.intervals import Interval, mean_interval
from datasets_src.task import EVAL_LOSS, BatchScorer, Sliced, Task
from datasets_src.types import Example, Score, Slice

NUM_CONSTANT_CANDIDATES = 8
UNCLOSED = "the thinking block does not end, so there is no answer"


def score_replies(
    task: Task, examples: Sequence[Example], replies: Sequence[str]
) -> list[dict[str, float]]:
    """One dict per pair, in order: METRIC and the other `task.METRICS` that apply to the row.

    A thinking block at the start of a reply is not a part of the answer that is scored. A task
    that scores many pairs faster at once defines `score_all(examples, replies)`.
    """
    assert len(examples) == len(replies), (len(examples), len(replies))
    answers = [answer_of(reply) for reply in replies]
    if isinstance(task, BatchScorer):
        rows = task.score_all(examples, answers)
    else:
        rows = [task.score(e, answer) for e, answer in zip(examples, answers, strict=True)]
    for row in rows:
        assert task.METRIC in row and set(row) <= set(task.METRICS), (sorted(row), task.METRICS)
        assert all(math.isfinite(value) and 0 <= value <= 1 for value in row.values()), row
    return rows


def explain_replies(
    task: Task,
    examples: Sequence[Example],
    replies: Sequence[str],
    rows: Sequence[Mapping[str, float]],
) -> list[str]:
    """Why each reply is wrong, in a few words; "" for a right one."""
    answers = [answer_of(reply) for reply in replies]
    whys = [task.why(*triple) for triple in zip(examples, answers, rows, strict=True)]
    assert all(isinstance(why, str) for why in whys), task.__name__
    pairs = zip(whys, replies, answers, strict=True)
    return [
        UNCLOSED if why and reply.strip() and not answer else why for why, reply, answer in pairs
    ]


def summarise(
    name: str,
    *,
    task: Task,
    metric: str,
    examples: Sequence[Example],
    rows: Sequence[Mapping[str, float]],
    predictions: str = "",
    seconds: float = 0.0,
    step: int | None = None,
    constant_reply: str | None = None,
    greater_is_better: bool = True,
    thinking: Thinking = NO_THINKING,
) -> Score:
    """One line of scores.jsonl from the scores of at least one row.

    In addition to the task's metrics, a row may have EVAL_LOSS.

    Raises:
        UserError: `metric` applies to none of the rows.
    """
    assert len(rows) == len(examples) > 0, (name, len(rows), len(examples))
    groups = [example.group for example in examples]
    names = (*task.METRICS, EVAL_LOSS)
    columns = {key: column for key in names if (column := _column(rows, groups, key))[0]}
    if metric not in columns:
        raise UserError(
            f"{metric} applies to none of the {len(rows)} rows, so it cannot choose a checkpoint; "
            f"choose one of {', '.join(columns)}"
        )
    return Score(
        name=name,
        step=step,
        n=len(rows),
        metric=metric,
        metrics={key: _mean(values) for key, (values, _) in columns.items()},
        intervals={key: _interval(key, *column) for key, column in columns.items()},
        predictions=predictions,
        seconds=seconds,
        constant_reply=constant_reply,
        num_groups=len(set(groups)),
        num_rows={key: len(values) for key, (values, _) in columns.items()},
        slices=_slices(task, metric, examples, rows),
        greater_is_better=greater_is_better,
        num_thinking=thinking.num_replies,
        num_unclosed=thinking.num_unclosed,
    )


def _interval(metric: str, values: Sequence[float], groups: Sequence[str]) -> Interval:
    low, high = mean_interval(values, groups, bounded=metric != EVAL_LOSS)
    return max(low, 0.0), high


def _column(
    rows: Sequence[Mapping[str, float]], groups: Sequence[str], metric: str
) -> tuple[list[float], list[str]]:
    """Values and groups of the rows with the metric."""
    pairs = [(row[metric], g) for row, g in zip(rows, groups, strict=True) if metric in row]
    return [value for value, _ in pairs], [group for _, group in pairs]


def _slices(
    task: Task,
    metric: str,
    examples: Sequence[Example],
    rows: Sequence[Mapping[str, float]],
) -> dict[str, Slice]:
    """`metric` for each value of each of the task's slices, if any."""
    if not isinstance(task, Sliced):
        return {}
    values: dict[tuple[str, str], list[float]] = {}
    groups: dict[tuple[str, str], list[str]] = {}
    for example, row in zip(examples, rows, strict=True):
        for key in task.slices(example).items() if metric in row else ():
            values.setdefault(key, []).append(row[metric])
            groups.setdefault(key, []).append(example.group)
    return {
        f"{name}={value}": Slice(
            n=len(scores),
            num_groups=len(set(groups[name, value])),
            value=_mean(scores),
            interval=_interval(metric, scores, groups[name, value]),
        )
        for (name, value), scores in sorted(values.items())
    }


def best_constant(
    task: Task,
    train: Sequence[Example],
    validation: Sequence[Example],
    *,
    metric: str,
    greater_is_better: bool = True,
) -> tuple[str, list[dict[str, float]]]:
    """The constant reply that scores best on all of `validation`, and its scores.

    Candidates are the most frequent targets of `train`; the more frequent one wins a tie.
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
    sign = 1 if greater_is_better else -1
    values = [[sign * row[metric] for row in part if metric in row] for part in scored]
    merits = [_mean(column) if column else -math.inf for column in values]
    best = merits.index(max(merits))
    return candidates[best], scored[best]


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else 0.0
