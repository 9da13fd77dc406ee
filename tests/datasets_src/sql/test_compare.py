"""Results as multisets of rows: what counts as the same and what does not."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from datasets_src.sql.compare import Row, same_rows, same_sequence

CELLS = st.one_of(st.none(), st.integers(-5, 5), st.floats(-5, 5), st.sampled_from(["a", "b", ""]))
ROWS = st.lists(st.tuples(CELLS, CELLS), max_size=8)


@pytest.mark.parametrize(
    ("left", "right", "same"),
    [
        ([(1, "a"), (2, "b")], [(2, "b"), (1, "a")], True),
        ([(1,), (1,), (2,)], [(1,), (2,), (2,)], False),
        ([(1,)], [(1,), (1,)], False),
        ([(1, 2)], [(2, 1)], False),
        ([(1,)], [(1, 1)], False),
        ([(None,)], [(None,)], True),
        ([(None,)], [(0,)], False),
        ([(None,)], [("",)], False),
        ([("1",)], [(1,)], False),
        ([(0.1 + 0.2,)], [(0.3,)], True),
        ([(1000000.0001,)], [(1000000.0,)], True),
        ([(1.00001,)], [(1.0,)], False),
        ([(16777216,)], [(16777217,)], False),
        ([(0.3, "a"), (0.1 + 0.2, "b")], [(0.3, "b"), (0.1 + 0.2, "a")], True),
        ([(0.3, 2), (0.1 + 0.2, 1)], [(0.1 + 0.2, 2), (0.3, 1)], True),
        ([], [], True),
        ([], [(None,)], False),
    ],
)
def test_same_rows(left: list[Row], right: list[Row], same: bool) -> None:
    assert same_rows(left, right) is same
    assert same_rows(right, left) is same


def test_a_sequence_has_an_order() -> None:
    assert same_sequence([(1,), (2.0,)], [(1,), (2,)]) is True
    assert same_sequence([(1,), (2,)], [(2,), (1,)]) is False


@given(rows=ROWS, data=st.data())
def test_order_never_counts_and_a_changed_cell_always_does(rows: list[Row], data: Any) -> None:
    shuffled = data.draw(st.permutations(rows))
    nudged = [tuple(c * (1 + 1e-9) if isinstance(c, float) else c for c in r) for r in shuffled]
    assert same_rows(rows, nudged)
    if rows:
        assert not same_rows(rows, [*shuffled[:-1], (*shuffled[-1][:-1], "another")])
        assert not same_rows(rows, shuffled[:-1])
