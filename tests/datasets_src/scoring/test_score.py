"""Means over the rows a metric applies to, slices, and the constant baseline."""

from types import SimpleNamespace
from typing import Any, cast

import pytest

from datasets_src.errors import UserError
from datasets_src.scoring.intervals import mean_interval, wilson_interval
from datasets_src.scoring.score import (
    best_constant,
    explain_replies,
    score_replies,
    summarise,
)
from datasets_src.types import Example, Slice


def example(identity: int, target: str, group: str = "", **inputs: str) -> Example:
    return Example(str(identity), group or str(identity), inputs, target)


def equals(example: Example, reply: str) -> dict[str, float]:
    """`kept` applies to targets with a digit."""
    score = {"equal": float(example.target == reply)}
    if example.target.isdigit():
        score["kept"] = float(example.target in reply)
    return score


TASK = cast(
    Any,
    SimpleNamespace(
        __name__="task",
        METRIC="equal",
        METRICS=("equal", "kept"),
        score=equals,
        why=lambda example, reply, scores: "" if scores["equal"] else f"not {example.target}",
        slices=lambda example: {"language": example.inputs["language"]},
    ),
)
EXAMPLES = [
    example(i, target, group=f"g{i // 2}", language="ca" if i < 6 else "es")
    for i, target in enumerate(["1", "a", "2", "b", "3", "c", "d", "e", "4", "f"])
]
REPLIES = ["1", "a", "", "b", "x3", "", "d", "", "4", "f"]


def summary(metric: str = "equal") -> Any:
    rows = score_replies(TASK, EXAMPLES, REPLIES)
    return summarise("base", task=TASK, metric=metric, examples=EXAMPLES, rows=rows, seconds=2.0)


def test_a_metric_is_averaged_over_the_rows_it_applies_to() -> None:
    score = summary()
    assert (score.n, score.num_groups) == (10, 5)
    assert score.metrics == {"equal": 0.6, "kept": 0.75}
    assert score.num_rows == {"equal": 10, "kept": 4}
    assert score.intervals["kept"] == wilson_interval(0.75, 4)
    groups = [e.group for e in EXAMPLES]
    assert score.intervals["equal"] == mean_interval([1, 1, 0, 1, 0, 0, 1, 0, 1, 1], groups)


def test_slices_are_of_the_chosen_metric() -> None:
    score = summary()
    assert score.slices == {
        "language=ca": Slice(6, 3, 0.5, wilson_interval(0.5, 3)),
        "language=es": Slice(4, 2, 0.75, wilson_interval(0.75, 2)),
    }
    kept = summary("kept").slices
    assert {name: (part.n, part.value) for name, part in kept.items()} == {
        "language=ca": (3, pytest.approx(2 / 3)),
        "language=es": (1, 1.0),
    }


def test_a_metric_that_applies_to_no_row_cannot_choose() -> None:
    rows = score_replies(TASK, EXAMPLES[6:8], ["d", "e"])
    assert "kept" not in rows[0]
    with pytest.raises(UserError, match=r"kept applies to none of the 2 rows.* one of equal$"):
        summarise("base", task=TASK, metric="kept", examples=EXAMPLES[6:8], rows=rows)


def test_each_reply_is_explained() -> None:
    rows = score_replies(TASK, EXAMPLES, REPLIES)
    assert explain_replies(TASK, EXAMPLES, REPLIES, rows)[:4] == ["", "", "not 2", ""]


def test_the_best_constant_is_the_one_that_scores_best_on_validation() -> None:
    train = [example(i, t) for i, t in enumerate("aaaabbbc11")]
    validation = [example(i, t) for i, t in enumerate("abbd1")]
    reply, rows = best_constant(TASK, train, validation, metric="equal")
    assert reply == "b" and [row["equal"] for row in rows] == [0, 1, 1, 0, 0]
    assert best_constant(TASK, train, validation, metric="kept")[0] == "1"
    # A tie: the most frequent.
    assert best_constant(TASK, train, [example(0, "d")], metric="equal")[0] == "a"


@pytest.mark.parametrize(
    "scores",
    [
        {"equal": 1.5},
        {"equal": float("nan")},
        {"equal": -0.1},
        {"kept": 1.0},
        {"equal": 1.0, "unknown": 0.0},
    ],
)
def test_a_task_that_breaks_the_contract_is_found(scores: dict[str, float]) -> None:
    broken = cast(
        Any, SimpleNamespace(METRIC="equal", METRICS=("equal", "kept"), score=lambda e, r: scores)
    )
    with pytest.raises(AssertionError):
        score_replies(broken, [example(0, "a")], ["a"])


def test_the_constant_with_the_lowest_value_wins_if_lower_is_better() -> None:
    """A constant to which the metric never applies does not win."""
    task = cast(Any, SimpleNamespace(METRIC="equal", METRICS=("equal", "long"), score=long))
    rows = [example(1, "no"), example(2, "no"), example(3, "yes, it is"), example(4, "yes")]
    assert best_constant(task, rows, rows, metric="long", greater_is_better=False)[0] == "yes"
    assert best_constant(task, rows, rows, metric="long")[0] == "yes, it is"


def long(example: Example, reply: str) -> dict[str, float]:
    """`long` is of replies that say yes."""
    score = {"equal": float(example.target == reply)}
    return score | ({"long": len(reply) / 100} if reply.startswith("yes") else {})
