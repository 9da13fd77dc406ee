"""The paired test against exact values, and its rate of false "beats"."""

from math import comb

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from datasets_src.scoring.intervals import wilson_interval
from datasets_src.scoring.paired import compare, compare_rows, sign_flip_p
from datasets_src.task import EVAL_LOSS


def groups_of(num_rows: int, size: int) -> list[str]:
    return [f"g{i // size}" for i in range(num_rows)]


def test_p_is_exact_if_groups_are_few() -> None:
    """Ones of equal size: the sign test, e.g. 9 of 10 is 2 * (10 + 1) / 2**10."""
    assert sign_flip_p(np.array([1.0] * 9 + [-1.0])) == 2 * (comb(10, 1) + 1) / 2**10
    assert sign_flip_p(np.array([1.0] * 5)) == 2 / 2**5
    assert sign_flip_p(np.array([0.0, 0.0])) == 1.0
    # |1 + 2 + 3 + 4| is reached by 2 of 16 signs, |1 + 2 + 3 - 4| = 2 by 12 of them.
    assert sign_flip_p(np.array([1.0, 2.0, 3.0, 4.0])) == 2 / 16
    assert sign_flip_p(np.array([1.0, 2.0, 3.0, -4.0])) == 14 / 16


def test_p_is_sampled_if_groups_are_many() -> None:
    """30 of 40: the sign test gives 0.00222; sampled, it has a standard error of 0.0005."""
    exact = 2 * sum(comb(40, k) for k in range(30, 41)) / 2**40
    assert sign_flip_p(np.array([1.0] * 30 + [-1.0] * 10)) == pytest.approx(exact, abs=0.002)
    assert sign_flip_p(np.ones(60)) == 1 / 10_001, "never zero"


def test_groups_without_a_difference_do_not_count() -> None:
    few = np.array([1.0, 1.0, 1.0, -1.0, 1.0])
    assert sign_flip_p(np.concatenate([few, np.zeros(90)])) == sign_flip_p(few)


def test_a_clear_difference_is_reported_with_its_interval() -> None:
    a, b = [1.0] * 110 + [0.0] * 26, [1.0] * 50 + [0.0] * 86
    found = compare(a, b, groups_of(136, 2))
    assert found.difference == pytest.approx(60 / 136) and found.winner == 1
    low, high = found.interval
    half = 1.96 * (60 / 136 * 76 / 136 / 68) ** 0.5  # 30 of 68 groups gain one
    assert (low, high) == pytest.approx((60 / 136 - half, 60 / 136 + half), abs=0.01)
    assert found.summary_line("step-000275", "base") == (
        f"step-000275 beats base by 0.441 [{low:.3f}, {high:.3f}], p < 0.001"
        " (136 rows in 68 groups)"
    )
    turned = compare(b, a, groups_of(136, 2))
    assert turned.winner == -1 and turned.difference == -found.difference
    assert turned.summary_line("base", "step-000275").startswith(
        "step-000275 beats base by 0.441 [0.3"
    )


def test_an_indistinguishable_pair_is_reported_as_such() -> None:
    a, b = [1.0] * 11 + [0.0] * 10, [1.0] * 10 + [0.0] * 11
    found = compare(a, b, groups_of(21, 1))
    assert found.winner == 0 and found.p == 1.0
    low, high = found.interval
    # One group of 21 differs: the least that A wins less the most that B may.
    wins, losses = wilson_interval(1 / 21, 21), wilson_interval(0, 21)
    assert found.interval == pytest.approx((wins[0] - losses[1], wins[1] - losses[0]))
    assert found.summary_line("step-000008", "base") == (
        "step-000008 and base: not distinguishable on 21 rows in 21 groups "
        f"(difference 0.048 [{low:.3f}, {high:.3f}], p = 1)"
    )


def test_many_rows_in_few_groups_prove_nothing() -> None:
    """120 rows better by the same three texts are three draws, and p cannot be below 1/4."""
    found = compare([1.0] * 120, [0.0] * 120, groups_of(120, 40))
    assert (found.winner, found.p, found.num_groups) == (0, 0.25, 3)


def test_equal_models_differ_in_at_most_five_of_a_hundred_cases() -> None:
    draw, num_trials, num_told = np.random.default_rng(5), 200, 0
    for _ in range(num_trials):
        right = draw.random((2, 30)) < 0.6  # a text is answered or not, whatever the question
        a, b = (np.repeat(side, 3).astype(float) for side in right)
        num_told += compare(list(a), list(b), groups_of(90, 3)).winner != 0
    assert num_told / num_trials < 0.08


def row(identity: int, **scores: float) -> dict[str, object]:
    return {"id": str(identity), "group": str(identity), "scores": scores}


def test_files_are_compared_on_rows_with_the_metric_in_both() -> None:
    ours = [row(1, f1=1.0, exact=1.0), row(2, f1=0.5), row(3, f1=0.0, exact=0.0)]
    theirs = [row(3, f1=1.0, exact=1.0), row(1, f1=0.0, exact=0.0), row(4, f1=1.0)]
    found = compare_rows(ours, theirs, metric="f1")
    assert found is not None and (found.n, found.difference) == (2, 0.0)
    exact = compare_rows(ours[:2], theirs, metric="exact")
    assert exact is not None and (exact.n, exact.difference) == (1, 1.0)
    assert compare_rows(ours[1:2], theirs, metric="exact") is None


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.lists(
        st.tuples(st.floats(0, 1), st.floats(0, 1), st.sampled_from("abcdefghijklmnopqrst")),
        min_size=1,
        max_size=40,
    )
)
def test_swapping_a_and_b_negates_the_result(rows: list[tuple[float, float, str]]) -> None:
    a, b, groups = zip(*rows, strict=True)
    one, other = compare(a, b, groups), compare(b, a, groups)
    assert one.p == other.p and 0 < one.p <= 1
    assert one.difference == pytest.approx(-other.difference)
    assert one.interval == pytest.approx((-other.interval[1], -other.interval[0]), abs=1e-9)
    assert -1 <= one.interval[0] <= one.difference + 1e-9
    assert one.difference - 1e-9 <= one.interval[1] <= 1


def test_the_lower_loss_wins() -> None:
    """By the difference, which may exceed 1."""
    a, b = ([row(i, eval_loss=value) for i in range(num)] for num, value in ((5, 0.5), (5, 4.0)))
    found = compare_rows(a, b, metric=EVAL_LOSS, greater_is_better=False)
    assert found is not None and found.difference == 3.5 and found.interval == (3.5, 3.5)
    assert found.p == 2 / 2**5, "of five groups no p is below 0.05"
    a, b = ([row(i, eval_loss=value + i / 100) for i in range(12)] for value in (0.5, 4.0))
    found = compare_rows(a, b, metric=EVAL_LOSS, greater_is_better=False)
    assert found is not None and found.winner == 1
    assert found.summary_line("step-000010", "base").startswith(
        "step-000010 beats base by 3.500 [3.500"
    )
