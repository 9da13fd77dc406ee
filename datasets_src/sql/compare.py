"""Whether two results are the same: multisets of rows, column names ignored.

same_rows([(1, "a"), (2, "b")], [(2.0, "b"), (1, "a")]) -> True
"""

import math
from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import Any

Row = tuple[Any, ...]
RELATIVE_TOLERANCE = 1e-6
ABSOLUTE_TOLERANCE = 1e-9
MAX_GREEDY_ROWS = 300


def same_cell(left: Any, right: Any) -> bool:
    """Integers and texts equal, a float within 1e-6 of its size."""
    if isinstance(left, float) or isinstance(right, float):
        if isinstance(left, str | None) or isinstance(right, str | None):
            return False
        return math.isclose(left, right, rel_tol=RELATIVE_TOLERANCE, abs_tol=ABSOLUTE_TOLERANCE)
    return type(left) is type(right) and left == right


def same_row(left: Row, right: Row) -> bool:
    """All cells, in the order of the columns."""
    return len(left) == len(right) and all(map(same_cell, left, right))


def same_sequence(left: Sequence[Row], right: Sequence[Row]) -> bool:
    """The same rows in the same order."""
    return len(left) == len(right) and all(map(same_row, left, right))


def same_rows(left: Sequence[Row], right: Sequence[Row]) -> bool:
    """The same rows as often, in any order."""
    if len(left) != len(right):
        return False
    if Counter(left) == Counter(right):
        return True
    groups_left, groups_right = _by_text(left), _by_text(right)
    return groups_left.keys() == groups_right.keys() and all(
        _same_group(rows, groups_right[key]) for key, rows in groups_left.items()
    )


def _by_text(rows: Sequence[Row]) -> dict[Row, list[Row]]:
    """Rows that differ in numbers only share a key."""
    groups: dict[Row, list[Row]] = defaultdict(list)
    for row in rows:
        groups[tuple(cell if isinstance(cell, str | None) else 0 for cell in row)].append(row)
    return groups


def _same_group(left: list[Row], right: list[Row]) -> bool:
    """Sorted, rows pair up; nearly equal floats may sort apart, so small groups are searched."""
    if len(left) != len(right):
        return False
    if same_sequence(sorted(left, key=_numbers), sorted(right, key=_numbers)):
        return True
    if len(left) > MAX_GREEDY_ROWS:
        return False
    rest = list(right)
    for row in left:
        index = next((i for i, other in enumerate(rest) if same_row(row, other)), None)
        if index is None:
            return False
        rest.pop(index)
    return True


def _numbers(row: Row) -> tuple[float, ...]:
    return tuple(cell for cell in row if isinstance(cell, int | float))
