"""Relations of two results: which differences count."""

import random
import time
from collections.abc import Sequence
from itertools import permutations
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from datasets_src.sql import compare
from datasets_src.sql.compare import Relation, Result, Row, relate

CELLS = st.one_of(st.none(), st.integers(-5, 5), st.floats(-5, 5), st.sampled_from(["a", "b", ""]))
TABLES = st.integers(1, 4).flatmap(
    lambda num: st.lists(st.tuples(*[CELLS] * num), min_size=1, max_size=8)
)


def result(rows: Sequence[Row], *, num_columns: int | None = None) -> Result:
    return Result(len(rows[0]) if num_columns is None else num_columns, tuple(rows))


@pytest.mark.parametrize(
    ("expected", "found", "relation"),
    [
        ([(1, "a"), (2, "b")], [(2, "b"), (1, "a")], "match"),
        ([(1,), (1,), (2,)], [(1,), (2,), (2,)], "other_rows"),
        ([(1,)], [(1,), (1,)], "superset"),
        ([(1,), (1,)], [(1,)], "other_rows"),
        ([(1,), (1,)], [(1,), (2,), (3,)], "other_rows"),
        ([(1, "a")], [(1, "a"), (2, "b")], "superset"),
        ([(1, "a")], [("a", 1)], "column_order"),
        ([(1, "a")], [("a", 1), ("b", 2)], "other_rows"),
        ([(1, 2), (3, 4)], [(2, 1), (3, 4)], "other_rows"),
        ([(1, 2), (2, 1)], [(2, 1), (1, 2)], "match"),
        ([(1, 2, 5), (2, 1, 6)], [(2, 1, 5), (1, 2, 6)], "column_order"),
        ([(1,)], [(1, 1)], "other_rows"),
        ([(None,)], [(None,)], "match"),
        ([(None,)], [(0,)], "other_rows"),
        ([(None,)], [("",)], "other_rows"),
        ([("1",)], [(1,)], "other_rows"),
        ([("a",)], [("A",)], "other_rows"),
        ([(0.1 + 0.2,)], [(0.3,)], "match"),
        ([(0.9999999999999999,)], [(1,)], "match"),
        ([(1000000.0001,)], [(1000000.0,)], "match"),
        ([(1.0000001,)], [(1.0,)], "other_rows"),
        ([(2**52 + 1,)], [(2**52,)], "other_rows"),
        ([(2**52 + 1, 0.5)], [(2**52, 0.5)], "other_rows"),
        ([(0.3, "a"), (0.1 + 0.2, "b")], [(0.3, "b"), (0.1 + 0.2, "a")], "match"),
        ([(0.3, 2), (0.1 + 0.2, 1)], [(0.1 + 0.2, 2), (0.3, 1)], "match"),
    ],
)
def test_relations(expected: list[Row], found: list[Row], relation: Relation) -> None:
    assert relate([result(expected)], [result(found)])[0] == relation


def test_no_rows_still_have_columns() -> None:
    one, two = result([], num_columns=1), result([], num_columns=2)
    assert relate([one], [one]) == ("match", True)
    assert relate([one], [two])[0] == "other_rows"
    assert relate([one], [result([(1,)])])[0] == "other_rows"  # not a superset of nothing
    assert relate([one, result([(1,)])], [result([(2,)]), result([(1,)])])[0] == "superset"


def test_order_counts_where_it_is_asked_for() -> None:
    assert relate([result([(1,), (2.0,)])], [result([(1,), (2,)])]) == ("match", True)
    assert relate([result([(1,), (2,)])], [result([(2,), (1,)])]) == ("match", False)


def test_every_pair_must_agree_and_columns_move_alike_in_all() -> None:
    one, other = [(1, "a"), (2, "b")], [("a", 1), ("b", 2)]
    assert relate([result(one)] * 2, [result(one), result(other)])[0] == "other_rows"
    assert relate([result(one)] * 2, [result(other)] * 2)[0] == "column_order"
    assert relate([result([(1,)]), result([(2,)])], [result([(2,)]), result([(1,)])])[0] == (
        "other_rows"
    )


def test_case_does_not_count_where_the_spelling_is_open() -> None:
    open_, given_ = Result(1, (("ÁVILA",),), caseless=True), Result(1, (("Ávila",),))
    assert relate([given_], [open_])[0] == relate([open_], [given_])[0] == "match"
    assert relate([given_], [Result(1, (("ÁVILA",),))])[0] == "other_rows"


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(rows=TABLES, data=st.data())
def test_rows_and_columns_move_but_a_changed_cell_counts(rows: list[Row], data: Any) -> None:
    shuffled = data.draw(st.permutations(rows))
    nudged = [tuple(c * (1 + 1e-12) if isinstance(c, float) else c for c in r) for r in shuffled]
    assert relate([result(rows)], [result(nudged)])[0] == "match"
    changed = [*shuffled[:-1], (*shuffled[-1][:-1], "another")]
    assert relate([result(rows)], [result(changed)])[0] == "other_rows"
    assert relate([result(rows)], [result([*nudged, rows[0]])])[0] == "superset"
    # Of columns that are all different, the pairing is found whatever the permutation.
    marked = [(*(f"{i} {c}" for i, c in enumerate(row)),) for row in rows]
    order = data.draw(st.permutations(range(len(rows[0]))))
    moved = [tuple(row[i] for i in order) for row in marked]
    expected = "match" if list(order) == sorted(order) else "column_order"
    assert relate([result(marked)], [result(moved)])[0] == expected


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(rows=TABLES, data=st.data())
def test_a_yes_about_columns_is_always_true(rows: list[Row], data: Any) -> None:
    """Cells are moved inside of each row on its own, so a common permutation is rare."""
    moved = [tuple(data.draw(st.permutations(row))) for row in rows]
    if relate([result(rows)], [result(moved)])[0] == "column_order":
        columns = list(zip(*moved, strict=True))
        orders = [list(zip(*order, strict=True)) for order in permutations(columns)]
        assert any(relate([result(rows)], [result(order)])[0] == "match" for order in orders)


def test_many_columns_and_rows_are_compared_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    num_cells: list[int] = []
    classes = compare._classes

    def counting(rows: Sequence[int], column: Row, ids: dict[Any, int]) -> list[int]:
        num_cells.append(len(column))
        return classes(rows, column, ids)

    monkeypatch.setattr(compare, "_classes", counting)
    chance = random.Random(1)
    alike = [tuple(chance.randrange(3) for _ in range(200)) for _ in range(2_000)]
    order = chance.sample(range(200), 200)
    moved = [tuple(row[i] for i in order) for row in alike]
    floats = [(chance.random(),) * 4 for _ in range(100_000)]
    wide = ((None,) * 1_998, ("a", "b"))
    started = time.process_time()
    assert relate([result(alike)], [result(moved)])[0] == "column_order"
    assert relate([result(floats)], [result(floats[::-1])])[0] == "match"
    one, other = [wide[0] + wide[1]], [wide[1] + wide[0]]
    assert relate([result(one)], [result(other)])[0] == "column_order"
    assert time.process_time() - started < 20  # 1.8
    assert sum(num_cells) <= 2 * 2 * compare.MAX_STEPS  # both sides, in two pairings
