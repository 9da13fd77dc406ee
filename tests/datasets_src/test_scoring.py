"""Intervals against published values; the best constant is found, not assumed."""

from types import SimpleNamespace
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from datasets_src.scoring import (
    best_constant,
    interval,
    mean_interval,
    score_replies,
    summarise,
    t_quantile,
    wilson_interval,
)
from datasets_src.types import Example


@pytest.mark.parametrize(
    ("num_right", "n", "low", "high"),
    [  # the first: Newcombe 1998, table I, method 3; the rest by hand from the formula
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
        (9, 21, 0.2447, 0.6345),
        (20, 20, 0.8389, 1.0),
    ],
)
def test_wilson_interval(num_right: int, n: int, low: float, high: float) -> None:
    assert wilson_interval(num_right, n) == pytest.approx((low, high), abs=6e-5)


@pytest.mark.parametrize(
    ("num_degrees", "value"),
    [(1, 12.7062), (2, 4.3027), (4, 2.7764), (10, 2.2281), (30, 2.0423), (1000, 1.9623)],
)
def test_t_quantile(num_degrees: int, value: float) -> None:
    assert t_quantile(num_degrees) == pytest.approx(value, rel=5e-4)


def test_mean_interval() -> None:
    assert mean_interval([0.2, 0.4, 0.6]) == pytest.approx((0.0, 0.8968), abs=1e-3)
    assert mean_interval([0.5]) == (0.0, 1.0)


@given(st.lists(st.sampled_from([0.0, 0.25, 1.0]), min_size=1, max_size=50))
def test_an_interval_holds_its_mean_and_stays_inside(values: list[float]) -> None:
    low, high = interval(values)
    assert 0 <= low <= sum(values) / len(values) <= high <= 1


def test_summarise_is_a_line_of_scores() -> None:
    rows = [{"right": 1.0, "share": 0.5}, {"right": 0.0, "share": 1.0}]
    score = summarise("base", step=None, metric="right", rows=rows, predictions="p", seconds=2.0)
    assert score.metrics == {"right": 0.5, "share": 0.75} and score.n == 2
    assert score.intervals["right"] == pytest.approx((0.0945, 0.9055), abs=1e-4)
    assert score.intervals["share"] == (0.0, 1.0)


def example(identity: int, target: str) -> Example:
    return Example(str(identity), str(identity), {}, target)


def equals(example: Example, reply: str) -> dict[str, float]:
    return {"equal": float(example.target == reply)}


TASK = cast(Any, SimpleNamespace(METRIC="equal", METRICS=("equal",), score=equals))


def test_the_best_constant_is_the_one_that_scores_best_on_validation() -> None:
    train = [example(i, t) for i, t in enumerate("aaaabbbc")]
    validation = [example(i, t) for i, t in enumerate("abbd")]
    reply, rows = best_constant(TASK, train, validation)
    assert reply == "b" and [row["equal"] for row in rows] == [0, 1, 1, 0]
    assert best_constant(TASK, train, [example(0, "d")])[0] == "a"  # a tie: the most frequent


def test_a_task_that_breaks_its_word_is_found() -> None:
    broken = cast(Any, SimpleNamespace(METRICS=("equal",), score=lambda e, r: {"equal": 1.5}))
    with pytest.raises(AssertionError):
        score_replies(broken, [example(0, "a")], ["a"])
