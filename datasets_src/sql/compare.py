"""Compares the rows of a reply with those of the reference as multisets; column names are ignored.

relate([Result(1, ((1,), (2,)))], [Result(1, ((2,), (1,)))]) -> ("match", False)
"""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal

Row = tuple[Any, ...]
Relation = Literal["match", "column_order", "superset", "other_rows"]
# Floating-point sums in another order differ by about 1e-15 of their size per addition; a larger
# difference may be a real one.
TOLERANCE = 1e-9
MAX_STEPS = 3_000_000  # cells compared while columns are paired: about 0.5 s


@dataclass(frozen=True)
class Result:
    """Rows of one executed query; cells are JSON values.

    `caseless`: the engine may return any spelling of a group, so case is ignored.
    `names` are the column names, "" for an unnamed column.
    """

    num_columns: int
    rows: tuple[Row, ...]
    caseless: bool = False
    names: tuple[str, ...] = ()


def relate(expected: Sequence[Result], found: Sequence[Result]) -> tuple[Relation, bool]:
    """The strictest relation that holds for all pairs, and whether the row order is equal too.

    "match": equal multisets of rows. "column_order": equal after one permutation of the columns,
    the same for all pairs. "superset": all expected rows (at least one) and others. Otherwise
    "other_rows".
    """
    pairs = list(zip(expected, found, strict=True))
    if len({side.num_columns for pair in pairs for side in pair}) > 1 or any(
        len(left.rows) > len(right.rows) for left, right in pairs
    ):
        return "other_rows", False
    left, right = _normalised_rows(pairs)
    num_left, num_right = Counter(left), Counter(right)
    if num_left == num_right:
        return "match", left == right
    if len(left) == len(right):
        return ("column_order" if _columns_permuted(left, right) else "other_rows"), False
    return ("superset" if left and num_left <= num_right else "other_rows"), False


def _normalised_rows(pairs: Sequence[tuple[Result, Result]]) -> tuple[list[Row], list[Row]]:
    """All rows of each side, with their pair's number first; equal cells are equal in Python."""
    left: list[Row] = []
    right: list[Row] = []
    for number, (one, other) in enumerate(pairs):
        fold = one.caseless or other.caseless
        left += [(number, *(map(_folded, row) if fold else row)) for row in one.rows]
        right += [(number, *(map(_folded, row) if fold else row)) for row in other.rows]
    if same := _same_numbers(left, right):
        left = [(row[0], *(same.get(cell, cell) for cell in row[1:])) for row in left]
        right = [(row[0], *(same.get(cell, cell) for cell in row[1:])) for row in right]
    return left, right


def _folded(cell: Any) -> Any:
    return cell.casefold() if isinstance(cell, str) else cell


def _same_numbers(left: Sequence[Row], right: Sequence[Row]) -> dict[float, float]:
    """Maps a number to the smallest one that equals it up to rounding.

    Neighbours within the tolerance are equal if at least one is a float; integers are exact.
    """
    numbers = {c for rows in (left, right) for row in rows for c in row[1:] if isinstance(c, float)}
    if not numbers:
        return {}
    numbers |= {c for rows in (left, right) for row in rows for c in row[1:] if isinstance(c, int)}
    same: dict[float, float] = {}
    for low, high in pairwise(sorted(numbers)):
        is_close = math.isclose(low, high, rel_tol=TOLERANCE, abs_tol=TOLERANCE)
        if is_close and (isinstance(low, float) or isinstance(high, float)):
            same[high] = same.get(low, low)
    return same


def _columns_permuted(left: Sequence[Row], right: Sequence[Row]) -> bool:
    """Whether one permutation of the columns after the first makes the rows the same multiset.

    Greedy, without backtracking: each column of `left`, the most distinctive first, takes the first
    free column of `right` with which the rows agree so far. True is always correct; False may be
    wrong if columns hold the same values and their pairing depends on a later column.
    """
    columns_left, columns_right = list(zip(*left, strict=True)), list(zip(*right, strict=True))
    signatures_left, signatures_right = _signatures(columns_left), _signatures(columns_right)
    num_alike = Counter(signatures_left)
    if num_alike != Counter(signatures_right):
        return False
    classes_left, classes_right = list(columns_left[0]), list(columns_right[0])
    free, num_steps = list(range(1, len(columns_right))), 0
    for i in sorted(range(1, len(columns_left)), key=lambda i: num_alike[signatures_left[i - 1]]):
        for j in [j for j in free if signatures_right[j - 1] == signatures_left[i - 1]]:
            num_steps += len(left)
            if num_steps > MAX_STEPS:
                return False
            ids: dict[Any, int] = {}
            next_left = _classes(classes_left, columns_left[i], ids)
            next_right = _classes(classes_right, columns_right[j], ids)
            if Counter(next_left) == Counter(next_right):
                classes_left, classes_right = next_left, next_right
                free.remove(j)
                break
        else:
            return False
    return True


def _signatures(columns: Sequence[Row]) -> list[frozenset[Any]]:
    """The multiset of (pair, value) of each column, independent of row order."""
    return [frozenset(Counter(zip(columns[0], c, strict=True)).items()) for c in columns[1:]]


def _classes(classes: Sequence[int], column: Row, ids: dict[Any, int]) -> list[int]:
    """Class ids of rows: rows of either side that agree in all columns so far share one."""
    return [ids.setdefault(key, len(ids)) for key in zip(classes, column, strict=True)]
