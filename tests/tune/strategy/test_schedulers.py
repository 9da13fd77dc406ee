"""Decisions follow from scores and order: whatever arrives first, they are the same."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tune.config import SweepConfig
from tune.strategy.schedulers import Judge, Table


def judge(
    scheduler: str,
    scores: dict[tuple[int, int], float],
    rungs: list[list[int]],
    *,
    failed: set[int] | None = None,
    factor: int = 2,
) -> Judge:
    told = SweepConfig.model_validate({"scheduler": scheduler, "reduction_factor": factor})
    return Judge(told, Table(rungs, scores, frozenset(failed or ())))


def test_asha_keeps_the_best_half_of_those_before() -> None:
    scores = {(i, 1): value for i, value in enumerate([0.5, 0.4, 0.6, 0.55, 0.1])}
    asked = judge("asha", scores, [[1]] * 5)
    # 1 of 1; 1 of 2; 2 of 3 (0.6, 0.5); 2 of 4 (0.6, 0.55); 3 of 5
    assert [asked.goes_on(i, 1) for i in range(5)] == [True, False, True, True, False]


def test_asha_lets_an_equal_one_go_on() -> None:
    scores = {(i, 1): 0.5 for i in range(4)}
    assert all(judge("asha", scores, [[1]] * 4, factor=4).goes_on(i, 1) for i in range(4))


def test_a_line_waits_for_those_before_it_and_for_nobody_behind() -> None:
    rungs = [[1, 2]] * 3
    scores = {(1, 1): 0.9, (2, 1): 0.1}
    asked = judge("asha", scores, rungs)
    assert asked.goes_on(1, 1) is None and asked.goes_on(2, 1) is None
    scores[0, 1] = 0.5
    asked = judge("asha", scores, rungs)
    assert [asked.goes_on(i, 1) for i in range(3)] == [True, True, False]
    scores[1, 2] = 0.9
    assert judge("asha", scores, rungs).goes_on(1, 2) is None, "line 0 is on its way to rung 2"


def test_a_line_that_was_stopped_or_failed_is_not_waited_for() -> None:
    rungs = [[1, 2]] * 3
    scores = {(0, 1): 0.9, (1, 1): 0.1, (2, 1): 0.95, (0, 2): 0.9, (2, 2): 0.8}
    assert judge("asha", scores, rungs).goes_on(2, 2) is False, "1 of 2 goes on, and 0 is better"
    del scores[0, 2]
    assert judge("asha", scores, rungs).goes_on(2, 2) is None
    assert judge("asha", scores, rungs, failed={0}).goes_on(2, 2) is True


def test_median_stops_what_never_reached_the_others_middle() -> None:
    rungs = [[1, 2]] * 5
    means = [0.5, 0.6, 0.7]
    scores = {(i, r): value for i, value in enumerate(means) for r in (1, 2)}
    scores |= {(3, 1): 0.65, (3, 2): 0.3, (4, 1): 0.55}
    asked = judge("median", scores, rungs)
    assert [asked.goes_on(i, 1) for i in range(3)] == [True] * 3, "too few to compare with"
    assert asked.goes_on(3, 1) is True and asked.goes_on(3, 2) is True, "its best so far is 0.65"
    assert asked.goes_on(4, 1) is False, "0.55 is below 0.625"


def run_in_some_order(
    scheduler: str, values: dict[tuple[int, int], float], rungs: list[list[int]], seed: int
) -> dict[tuple[int, int], bool]:
    """Lines advance in a random order, `width` at a time; every decision as it falls."""
    rng, scores = random.Random(seed), dict[tuple[int, int], float]()
    decided: dict[tuple[int, int], bool] = {}
    while True:
        asked, ready = judge(scheduler, scores, rungs), []
        for line, levels in enumerate(rungs):
            for level in levels:
                if (line, level) not in scores:
                    ready.append((line, level))
                    break
                goes_on = asked.goes_on(line, level)
                if goes_on is not None:
                    assert decided.setdefault((line, level), goes_on) == goes_on, "it was changed"
                if goes_on is not True:
                    break
        if not ready:
            return decided
        for key in rng.sample(ready, rng.randint(1, len(ready))):
            scores[key] = values[key]


@given(
    st.sampled_from(["asha", "median"]),
    st.lists(st.lists(st.integers(0, 5), min_size=3, max_size=3), min_size=1, max_size=7),
    st.integers(0, 10**6),
)
@settings(max_examples=60, deadline=None)
def test_any_interleaving_gives_the_same_decisions(
    scheduler: str, table: list[list[int]], seed: int
) -> None:
    rungs = [[1, 2, 4]] * len(table)
    values = {
        (i, r): v / 5 for i, row in enumerate(table) for r, v in zip([1, 2, 4], row, strict=True)
    }
    first = run_in_some_order(scheduler, values, rungs, seed)
    assert run_in_some_order(scheduler, values, rungs, seed + 1) == first
    ended = [
        i
        for i in range(len(table))
        if (i, 4) in first or False in [first.get((i, r)) for r in (1, 2)]
    ]
    assert ended == list(range(len(table))), "some line waits for ever"


@pytest.mark.parametrize("scheduler", ["asha", "median", "none"])
def test_one_line_alone_always_goes_on(scheduler: str) -> None:
    assert judge(scheduler, {(0, 1): 0.0}, [[1]]).goes_on(0, 1) is True


def test_a_generation_waits_for_all_and_its_worst_give_way_to_the_best() -> None:
    rungs = [[1, 2]] * 5
    scores = {(i, 1): value for i, value in enumerate([0.5, 0.4, 0.6, 0.55])}
    assert judge("pbt", scores, rungs).goes_on(0, 1) is None, "line 4 is on its way"
    scores[4, 1] = 0.1
    asked = judge("pbt", scores, rungs)
    assert [asked.goes_on(i, 1) for i in range(5)] == [True, False, True, True, False]
    assert asked.parents(1) == [2, 3] and asked.parents(2) is None
    # Children are lines 5 and 6, judged from rung 2 on with those that went on.
    rungs = [*rungs, [2], [2]]
    scores |= {(i, 2): value for i, value in [(0, 0.7), (2, 0.6), (3, 0.5), (5, 0.4), (6, 0.9)]}
    assert judge("pbt", scores, rungs).parents(2) == [6, 0]


def test_a_small_generation_keeps_half_and_one_alone_goes_on() -> None:
    asked = judge("pbt", {(0, 1): 0.5, (1, 1): 0.5, (2, 1): 0.5}, [[1]] * 3, factor=2)
    assert asked.parents(1) == [0] and asked.goes_on(2, 1) is False, "of equals the later stops"
    assert judge("pbt", {(0, 1): 0.5}, [[1], [1]], failed={1}).goes_on(0, 1) is True
