"""SQL as text, before parsing: split at `;`, bind placeholders, normalise for exact match.

first_statement("SELECT ';'; DROP TABLE t", "sqlite") -> ("SELECT ';'", " DROP TABLE t")
bind("SELECT * FROM t WHERE id = <id>", {"<id>": 7}, "sqlite") -> "SELECT * FROM t WHERE id = 7"

An unterminated quote or comment extends to the end of the text, so every pattern here is linear in
the length of the reply. Block comments do not nest, as in core standard SQL.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any, Literal

Dialect = Literal["sqlite", "tsql", "duckdb", "postgres"]
Binding = Mapping[str, Any]  # placeholder -> value
Kind = Literal["code", "quoted", "comment"]

_COMMENT = r"--[^\n]*|/\*.*?(?:\*/|\Z)"
_QUOTED = r"'[^']*(?:'|\Z)|\"[^\"]*(?:\"|\Z)"
_BRACKETED = r"\[[^\]]*(?:\]|\Z)"
_DOLLAR_QUOTED = r"\$(?P<tag>\w*)\$.*?(?:\$(?P=tag)\$|\Z)"
_BACKSLASHED = r"\b[eE]'(?:[^'\\]|\\(?:.|\Z)|'')*(?:'|\Z)"
_QUOTES: dict[str, str] = {
    "tsql": f"{_QUOTED}|{_BRACKETED}",
    "sqlite": rf"{_QUOTED}|{_BRACKETED}|`[^`]*(?:`|\Z)",
    "duckdb": f"{_BACKSLASHED}|{_QUOTED}|{_DOLLAR_QUOTED}",
    "postgres": f"{_BACKSLASHED}|{_QUOTED}|{_DOLLAR_QUOTED}",
}
_PIECES = {
    dialect: re.compile(f"(?P<comment>{_COMMENT})|(?P<quoted>{quotes})", re.DOTALL)
    for dialect, quotes in _QUOTES.items()
}
# Except a blank without which its neighbours would form a comment mark.
_BLANK_AT_PUNCTUATION = re.compile(r"(?<![-*/]) (?=[(),=<>+*/-])|(?<=[(),=<>+*/-]) (?![-*/])")
# Opening -> closing quote, if they differ; the closing one is doubled inside, except dollar quotes.
_CLOSES = {"[": "]", "e": "'", "E": "'", "$": ""}


def pieces(sql: str, dialect: str) -> Iterator[tuple[Kind, str]]:
    """`sql` split at its quotes and comments; the pieces joined give `sql`."""
    end = 0
    for found in _PIECES[dialect].finditer(sql):
        if found.start() > end:
            yield "code", sql[end : found.start()]
        yield ("comment" if found["comment"] is not None else "quoted"), found[0]
        end = found.end()
    if end < len(sql):
        yield "code", sql[end:]


def first_statement(sql: str, dialect: str) -> tuple[str, str]:
    """The text before and after the first `;` outside quotes and comments."""
    position = 0
    for kind, piece in pieces(sql, dialect):
        if kind == "code" and ";" in piece:
            position += piece.index(";")
            return sql[:position], sql[position + 1 :]
        position += len(piece)
    return sql, ""


def code_of(sql: str, dialect: str) -> str:
    """`sql` with each quoted piece and comment replaced by a blank."""
    return "".join(piece if kind == "code" else " " for kind, piece in pieces(sql, dialect))


def normalise(sql: str, dialect: str) -> str:
    """`sql` without comments, in lower case and with minimal white space outside quotes."""
    merged: list[str] = [""]  # code at even places, quoted pieces at odd ones
    for kind, piece in pieces(sql, dialect):
        if kind == "quoted":
            merged += [piece, ""]
        else:
            merged[-1] += piece if kind == "code" else " "
    for i in range(0, len(merged), 2):
        code = re.sub(r"\s+", " ", merged[i].lower())
        merged[i] = _BLANK_AT_PUNCTUATION.sub("", code)
    return "".join(merged).strip()


def literal(value: Any) -> str:
    """`value` as an SQL literal; negative numbers in parentheses, since `--` starts a comment."""
    if value is None:
        return "NULL"
    if isinstance(value, bool | int | float):
        number = str(int(value) if isinstance(value, bool) else value)
        return f"({number})" if number.startswith("-") else number
    return "'" + str(value).replace("'", "''") + "'"


def bind(sql: str, binding: Binding, dialect: str) -> str:
    """Replace placeholders by literals, or inside quotes by the value's text.

    Comments are unchanged, and a value that looks like a placeholder is not replaced again.
    """
    names = sorted(binding, key=len, reverse=True)  # so that $10 is not read as $1
    if not any(name in sql for name in names):
        return sql
    pattern = re.compile("|".join(map(re.escape, names)))
    bound = []
    for kind, piece in pieces(sql, dialect):
        if kind == "comment":
            bound.append(piece)
        elif kind == "code":
            bound.append(pattern.sub(lambda found: literal(binding[found[0]]), piece))
        else:
            quote = _CLOSES.get(piece[0], piece[0])
            text = {name: str(value).replace(quote, quote * 2) for name, value in binding.items()}
            bound.append(pattern.sub(partial(_replacement, text), piece))
    return "".join(bound)


def _replacement(text: Mapping[str, str], found: re.Match[str]) -> str:
    return text[found[0]]


def bound_texts(sql: str, bindings: Sequence[Binding], dialect: str) -> tuple[str, ...]:
    """`sql` with each binding applied, or one text if it has no placeholder."""
    texts = tuple(bind(sql, binding, dialect) for binding in bindings) or (sql,)
    return texts[:1] if len(set(texts)) == 1 else texts
