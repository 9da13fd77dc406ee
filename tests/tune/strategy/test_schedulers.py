"""Decisions follow from scores and order: they do not depend on which score arrives first."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tune.config import SweepConfig
from tune.strategy.schedulers import RungScores, Scheduler


def scheduler_of(
    name: str,
    scores: dict[tuple[int, int], float],
    rungs: list[list[int]],
    *,
    failed: set[int] | None = None,
    factor: int = 2,
) -> Scheduler:
    section = SweepConfig.model_validate({"scheduler": name, "reduction_factor": factor})
    return Scheduler(section, RungScores(rungs, scores, frozenset(failed or ())))


def test_asha_keeps_the_best_half_of_those_before() -> None:
    scores = {(i, 1): value for i, value in enumerate([0.5, 0.4, 0.6, 0.55, 0.1])}
    scheduler = scheduler_of("asha", scores, [[1]] * 5)
    # 1 of 1; 1 of 2; 2 of 3 (0.6, 0.5); 2 of 4 (0.6, 0.55); 3 of 5
    assert [scheduler.continues(i, 1) for i in range(5)] == [True, False, True, True, False]


def test_asha_continues_an_equal_score() -> None:
    scores = {(i, 1): 0.5 for i in range(4)}
    assert all(scheduler_of("asha", scores, [[1]] * 4, factor=4).continues(i, 1) for i in range(4))


def test_a_group_waits_for_earlier_groups_only() -> None:
    rungs = [[1, 2]] * 3
    scores = {(1, 1): 0.9, (2, 1): 0.1}
    scheduler = scheduler_of("asha", scores, rungs)
    assert scheduler.continues(1, 1) is None and scheduler.continues(2, 1) is None
    scores[0, 1] = 0.5
    scheduler = scheduler_of("asha", scores, rungs)
    assert [scheduler.continues(i, 1) for i in range(3)] == [True, True, False]
    scores[1, 2] = 0.9
    assert scheduler_of("asha", scores, rungs).continues(1, 2) is None, (
        "group 0 may still reach rung 2"
    )


def test_a_stopped_or_failed_group_is_not_waited_for() -> None:
    rungs = [[1, 2]] * 3
    scores = {(0, 1): 0.9, (1, 1): 0.1, (2, 1): 0.95, (0, 2): 0.9, (2, 2): 0.8}
    assert scheduler_of("asha", scores, rungs).continues(2, 2) is False, (
        "1 of 2 continues, and 0 is better"
    )
    del scores[0, 2]
    assert scheduler_of("asha", scores, rungs).continues(2, 2) is None
    assert scheduler_of("asha", scores, rungs, failed={0}).continues(2, 2) is True


def test_median_stops_a_group_that_never_reached_the_median_of_the_means() -> None:
    rungs = [[1, 2]] * 5
    means = [0.5, 0.6, 0.7]
    scores = {(i, r): value for i, value in enumerate(means) for r in (1, 2)}
    scores |= {(3, 1): 0.65, (3, 2): 0.3, (4, 1): 0.55}
    scheduler = scheduler_of("median", scores, rungs)
    assert [scheduler.continues(i, 1) for i in range(3)] == [True] * 3, "too few to compare with"
    assert scheduler.continues(3, 1) is True and scheduler.continues(3, 2) is True, (
        "its best so far is 0.65"
    )
    assert scheduler.continues(4, 1) is False, "0.55 is below 0.625"


def run_in_some_order(
    name: str, values: dict[tuple[int, int], float], rungs: list[list[int]], seed: int
) -> dict[tuple[int, int], bool]:
    """Groups advance in a random order, several at a time; every decision."""
    rng, scores = random.Random(seed), dict[tuple[int, int], float]()
    decided: dict[tuple[int, int], bool] = {}
    while True:
        scheduler, ready = scheduler_of(name, scores, rungs), []
        for group, levels in enumerate(rungs):
            for level in levels:
                if (group, level) not in scores:
                    ready.append((group, level))
                    break
                continues = scheduler.continues(group, level)
                if continues is not None:
                    assert decided.setdefault((group, level), continues) == continues, (
                        "the decision changed"
                    )
                if continues is not True:
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
    assert ended == list(range(len(table))), "a group waits forever"


@pytest.mark.parametrize("scheduler", ["asha", "median", "none"])
def test_a_single_group_always_continues(scheduler: str) -> None:
    assert scheduler_of(scheduler, {(0, 1): 0.0}, [[1]]).continues(0, 1) is True


def test_a_generation_waits_for_all_and_replaces_its_worst_with_children_of_the_best() -> None:
    rungs = [[1, 2]] * 5
    scores = {(i, 1): value for i, value in enumerate([0.5, 0.4, 0.6, 0.55])}
    assert scheduler_of("pbt", scores, rungs).continues(0, 1) is None, "group 4 may still arrive"
    scores[4, 1] = 0.1
    scheduler = scheduler_of("pbt", scores, rungs)
    assert [scheduler.continues(i, 1) for i in range(5)] == [True, False, True, True, False]
    assert scheduler.parents(1) == [2, 3] and scheduler.parents(2) is None
    # Children are groups 5 and 6; from rung 2 they are ranked with the groups that continued.
    rungs = [*rungs, [2], [2]]
    scores |= {(i, 2): value for i, value in [(0, 0.7), (2, 0.6), (3, 0.5), (5, 0.4), (6, 0.9)]}
    assert scheduler_of("pbt", scores, rungs).parents(2) == [6, 0]


def test_a_small_generation_keeps_half_and_a_single_group_continues() -> None:
    scheduler = scheduler_of("pbt", {(0, 1): 0.5, (1, 1): 0.5, (2, 1): 0.5}, [[1]] * 3, factor=2)
    assert scheduler.parents(1) == [0] and scheduler.continues(2, 1) is False, (
        "of equal scores the later group stops"
    )
    assert scheduler_of("pbt", {(0, 1): 0.5}, [[1], [1]], failed={1}).continues(0, 1) is True
