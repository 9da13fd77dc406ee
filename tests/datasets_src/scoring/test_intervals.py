"""Intervals against published values, and their coverage in simulations."""

import time

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from datasets_src.scoring.intervals import (
    MIN_GROUPS,
    mean_interval,
    t_quantile,
    wilson_interval,
)


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
    assert wilson_interval(num_right / n, n) == pytest.approx((low, high), abs=6e-5)


@pytest.mark.parametrize(
    ("num_degrees", "value"), [(7, 2.3646), (10, 2.2281), (30, 2.0423), (1000, 1.9623)]
)
def test_t_quantile(num_degrees: int, value: float) -> None:
    assert t_quantile(num_degrees) == pytest.approx(value, rel=5e-4)


def test_many_single_rows_give_the_normal_interval() -> None:
    """Where each row is its own group the bootstrap is that of a plain mean."""
    values = [1.0] * 120 + [0.0] * 280
    low, high = mean_interval(values, [str(i) for i in range(400)])
    half = 1.96 * (0.3 * 0.7 / 400) ** 0.5
    assert (low, high) == pytest.approx((0.3 - half, 0.3 + half), abs=0.005)


def test_rows_of_a_group_count_as_one() -> None:
    """Five copies of each row add no information; five times the rows would."""
    values = [1.0, 0.0, 1.0, 1.0, 0.0, 1.0, 0.0, 1.0, 1.0, 0.0] * 4
    single = mean_interval(values, [str(i) for i in range(40)])
    copied = mean_interval(
        [value for value in values for _ in range(5)], [str(i // 5) for i in range(200)]
    )
    assert copied == pytest.approx(single, abs=1e-12)
    apart = mean_interval([v for v in values for _ in range(5)], [str(i) for i in range(200)])
    assert copied[1] - copied[0] > 2 * (apart[1] - apart[0])


def test_the_order_of_rows_does_not_count() -> None:
    draw = np.random.default_rng(3)
    values, groups = draw.random(60), [str(i % 13) for i in range(60)]
    order = draw.permutation(60)
    turned = mean_interval(list(values[order]), [groups[i] for i in order])
    assert turned == pytest.approx(mean_interval(list(values), groups), abs=1e-12)


@pytest.mark.parametrize(
    ("values", "groups", "expected"),
    [
        ([1.0] * 60, [str(i // 3) for i in range(60)], wilson_interval(1, 20)),
        ([0.5] * 60, [str(i // 3) for i in range(60)], wilson_interval(0.5, 20)),
        ([1.0] * 57 + [0.0] * 3, [str(i // 3) for i in range(60)], wilson_interval(0.95, 20)),
        ([1.0, 0.0] * 10 + [1.0], [str(i // 3) for i in range(21)], wilson_interval(11 / 21, 7)),
        ([0.25], ["a"], wilson_interval(0.25, 1)),
    ],
)
def test_degenerate_samples_count_one_draw_per_group(
    values: list[float], groups: list[str], expected: tuple[float, float]
) -> None:
    """All rows equal; one group of twenty that differs; seven groups; a single row."""
    assert mean_interval(values, groups) == pytest.approx(expected, abs=1e-12)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.lists(
        st.tuples(st.sampled_from([0.0, 0.25, 1.0]), st.sampled_from("abcdefghijkl")),
        min_size=1,
        max_size=50,
    )
)
def test_an_interval_contains_its_mean_and_stays_in_bounds(rows: list[tuple[float, str]]) -> None:
    values, groups = [value for value, _ in rows], [group for _, group in rows]
    low, high = mean_interval(values, groups)
    mean = sum(values) / len(values)
    assert 0 <= low <= mean + 1e-12 and mean - 1e-12 <= high <= 1
    assert high - low > 0 or len(set(groups)) >= MIN_GROUPS


@pytest.mark.parametrize("num_groups", [8, 20, 68])
@pytest.mark.parametrize("share", [0.3, 0.95])
@pytest.mark.parametrize("together", [True, False])
def test_coverage_is_at_least_nine_in_ten(num_groups: int, share: float, together: bool) -> None:
    """1 to 4 rows per group, equal or independent; the nominal coverage is 95 %."""
    draw, num_trials, num_held = np.random.default_rng(1), 150, 0
    for _ in range(num_trials):
        sizes = draw.integers(1, 5, num_groups)
        groups = np.repeat(np.arange(num_groups), sizes)
        right = draw.random(num_groups)[groups] if together else draw.random(len(groups))
        low, high = mean_interval(list((right < share).astype(float)), [str(g) for g in groups])
        num_held += low <= share <= high
    assert num_held / num_trials > 0.89


@pytest.mark.parametrize("num_groups", [2, 3, 4, 7, 8, 20])
def test_coverage_for_unbounded_losses(num_groups: int) -> None:
    """Fewer than MIN_GROUPS of them: Student's, exact for normal means of equal size."""
    draw, num_trials, num_held = np.random.default_rng(1), 400, 0
    for _ in range(num_trials):
        groups = np.repeat(np.arange(num_groups), 3)
        values = 5 + draw.normal(size=num_groups)[groups] + 0.2 * draw.normal(size=len(groups))
        low, high = mean_interval(list(values), [str(g) for g in groups], bounded=False)
        num_held += low <= 5 <= high
    assert num_held / num_trials > 0.9


def test_one_group_has_zero_width() -> None:
    assert mean_interval([2.0, 3.0], ["a", "a"], bounded=False) == (2.5, 2.5)


def test_ten_thousand_resamples_of_300_groups_take_a_tenth_of_a_second() -> None:
    values, groups = list(np.random.default_rng(0).random(900)), [str(i // 3) for i in range(900)]
    started = time.process_time()
    mean_interval(values, groups)
    assert time.process_time() - started < 1  # 0.1
