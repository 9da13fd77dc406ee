"""Functions of other dialects that SQLite lacks: case-insensitive text and a few scalars.

    'ÁVILA' = 'ávila' is true under dialect tsql, and UPPER('ñu') is 'ÑU'

SQLite's own NOCASE, LIKE, LOWER and UPPER handle only ASCII (sqlite.org/datatype3.html#collation).
"""

import re
import sqlite3
from collections.abc import Callable
from functools import lru_cache
from typing import Any

# Only columns with non-ASCII text use it: it calls Python for each comparison.
COLLATION = "GALLIPATO_NOCASE"


def compare_without_case(left: str, right: str) -> int:
    """-1, 0 or 1, by Unicode case folding."""
    if left == right:
        return 0
    left, right = left.casefold(), right.casefold()
    return (left > right) - (left < right)


def like_regex(pattern: str, escape: str, *, has_classes: bool) -> str:
    """A LIKE pattern as a regular expression: % and _ are wildcards, `escape` makes them literal.

    `has_classes`: [a-c] and [^a-c] match one character of a set, as in SQL Server.
    """
    parts, position = [], 0
    while position < len(pattern):
        char = pattern[position]
        close = pattern.find("]", position + 2) if has_classes and char == "[" else -1
        if char == escape and position + 1 < len(pattern):
            position += 1
            parts.append(re.escape(pattern[position]))
        elif close > 0:
            parts.append(_class_regex(pattern[position + 1 : close]))
            position = close
        else:
            parts.append({"%": ".*", "_": "."}.get(char, re.escape(char)))
        position += 1
    return "".join(parts)


def _class_regex(inside: str) -> str:
    negation = "^" if len(inside) > 1 and inside[0] == "^" else ""
    plain = re.sub(r"([\\\[\]^&~|])", r"\\\1", inside.removeprefix(negation))
    return f"[{negation}{plain}]"


@lru_cache(maxsize=256)
def _like_pattern(pattern: str, escape: str) -> re.Pattern[str]:
    return re.compile(like_regex(pattern, escape, has_classes=True), re.DOTALL)


def _like(pattern: Any, text: Any, escape: str = "") -> int | None:
    """SQL Server's LIKE, which ignores case."""
    if pattern is None or text is None:
        return None
    regex = _like_pattern(str(pattern).casefold(), escape.casefold())
    return int(regex.fullmatch(str(text).casefold()) is not None)


def _text(function: Callable[[str], Any]) -> Callable[[Any], Any]:
    return lambda value: None if value is None else function(str(value))


def _part(start: int, end: int) -> Callable[[Any], int | None]:
    """Reads a number from an ISO date, e.g. the year from characters 0-4."""

    def part(value: Any) -> int | None:
        digits = "" if value is None else str(value)[start:end]
        return int(digits) if digits.isdigit() else None

    return part


def _concat(*values: Any) -> str:
    return "".join("" if value is None else str(value) for value in values)


def _left(text: Any, num_chars: Any) -> str | None:
    return None if text is None or num_chars is None else str(text)[: max(0, int(num_chars))]


def _right(text: Any, num_chars: Any) -> str | None:
    if text is None or num_chars is None:
        return None
    return str(text)[-int(num_chars) :] if int(num_chars) > 0 else ""


def add_functions(connection: sqlite3.Connection, dialect: str) -> None:
    """Register on `connection` the functions that SQL transpiled from `dialect` may call."""
    connection.create_collation(COLLATION, compare_without_case)
    if dialect == "sqlite":
        return
    named: list[tuple[str, int, Callable[..., Any]]] = [
        ("lower", 1, _text(str.lower)),
        ("upper", 1, _text(str.upper)),
        ("reverse", 1, _text(lambda text: text[::-1])),
        ("year", 1, _part(0, 4)),
        ("month", 1, _part(5, 7)),
        ("day", 1, _part(8, 10)),
        ("concat", -1, _concat),
        ("year_of", 1, _part(0, 4)),
        ("month_of", 1, _part(5, 7)),
        ("day_of", 1, _part(8, 10)),
        ("left_chars", 2, _left),
        ("right_chars", 2, _right),
    ]
    if dialect == "tsql":
        named += [("like", 2, _like), ("like", 3, _like)]
    else:
        connection.execute("PRAGMA case_sensitive_like = ON")
    for name, num_arguments, function in named:
        connection.create_function(name, num_arguments, function, deterministic=True)
