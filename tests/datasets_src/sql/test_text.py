"""SQL as text: statement ends, binding, normalisation."""

import time

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from datasets_src.sql.text import bind, bound_texts, first_statement, normalise, pieces

DIALECTS = ("sqlite", "tsql", "duckdb", "postgres")
MARKS = ["'", '"', "--", "/*", "*/", ";", "[", "]", "`", "$$", "$x$", "E'", "\\", "\n", "a", " "]
SQL = st.lists(st.sampled_from(MARKS), max_size=30).map("".join)


@pytest.mark.parametrize(
    ("sql", "dialect", "statement", "rest"),
    [
        ("SELECT 1", "sqlite", "SELECT 1", ""),
        ("SELECT 1; DROP TABLE t; x", "tsql", "SELECT 1", " DROP TABLE t; x"),
        ("SELECT 'a;b', 'it''s;'; x", "tsql", "SELECT 'a;b', 'it''s;'", " x"),
        ('SELECT "a;b"; x', "postgres", 'SELECT "a;b"', " x"),
        ("SELECT 1 -- a;b\n, 2; x", "duckdb", "SELECT 1 -- a;b\n, 2", " x"),
        ("SELECT /* a;\nb; */ 1; x", "sqlite", "SELECT /* a;\nb; */ 1", " x"),
        ("SELECT [a;b]; x", "tsql", "SELECT [a;b]", " x"),
        ("SELECT [1;2]", "duckdb", "SELECT [1", "2]"),
        ("SELECT `a;b`; x", "sqlite", "SELECT `a;b`", " x"),
        ("SELECT $$a;b$$, $q$;$$;$q$; x", "postgres", "SELECT $$a;b$$, $q$;$$;$q$", " x"),
        (r"SELECT E'it\';s'; x", "postgres", r"SELECT E'it\';s'", " x"),
        ("SELECT 'never closed; x", "sqlite", "SELECT 'never closed; x", ""),
        ("SELECT 1 /* never closed; x", "sqlite", "SELECT 1 /* never closed; x", ""),
        (";SELECT 1", "sqlite", "", "SELECT 1"),
    ],
)
def test_first_statement(sql: str, dialect: str, statement: str, rest: str) -> None:
    assert first_statement(sql, dialect) == (statement, rest)


@example(sql="*/\n*/", dialect="sqlite")
@example(sql="1 - -1", dialect="sqlite")
@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(sql=SQL, dialect=st.sampled_from(DIALECTS))
def test_a_cut_loses_only_the_semicolon(sql: str, dialect: str) -> None:
    assert "".join(piece for _, piece in pieces(sql, dialect)) == sql
    statement, rest = first_statement(sql, dialect)
    assert sql in (statement, f"{statement};{rest}")
    assert first_statement(statement, dialect) == (statement, "")
    assert normalise(normalise(sql, dialect), dialect) == normalise(sql, dialect)


@pytest.mark.parametrize("mark", ["'", '"', "/*", "[", "$", "$a", "e'", "\\", "--", "<", " ", ";"])
@pytest.mark.parametrize("dialect", DIALECTS)
def test_time_is_linear_in_the_text(mark: str, dialect: str) -> None:
    sql = mark * (100_000 // len(mark))
    started = time.process_time()
    first_statement(sql, dialect)
    normalise(sql, dialect)
    bind(sql, {"<x>": 1}, dialect)
    assert time.process_time() - started < 2  # 0.03 to 0.2; quadratic would be minutes


@pytest.mark.parametrize(
    ("sql", "value", "bound"),
    [
        ("a = <x> OR b=<x>", 7, "a = 7 OR b=7"),
        ("a = <x>", "O'Hara", "a = 'O''Hara'"),
        ("a = '<x>'", "O'Hara", "a = 'O''Hara'"),
        ('a = "<x>"', 'a"b', 'a = "a""b"'),
        ("a = [<x>]", "a]b", "a = [a]]b]"),
        ("a LIKE '%<x>%' AND b = <x>", "it's", "a LIKE '%it''s%' AND b = 'it''s'"),
        ("a = '<x>'", 7, "a = '7'"),
        ("a = <x> -- can't be <x>\nAND b = <x>", "y", "a = 'y' -- can't be <x>\nAND b = 'y'"),
        ("km-<x>", -5, "km-(-5)"),
        ("a = <x>", 1.5, "a = 1.5"),
        ("a = <x>", True, "a = 1"),
        ("a = <x>", None, "a = NULL"),
        ("a = 1", 7, "a = 1"),
        ("a = <x>", "<x>", "a = '<x>'"),
        ("a = '<x>'", r"\1", r"a = '\1'"),
    ],
)
def test_bind(sql: str, value: object, bound: str) -> None:
    assert bind(sql, {"<x>": value}, "tsql") == bound


def test_placeholders_are_bound_at_once_and_the_longer_first() -> None:
    assert bind("$1, $10, $2", {"$1": "$2", "$10": 10, "$2": 2}, "sqlite") == "'$2', 10, 2"


def test_a_text_without_a_placeholder_is_one_text() -> None:
    ids = [{"<id>": 1}, {"<id>": 2}, {"<id>": 3}]
    assert bound_texts("SELECT 1", ids, "sqlite") == ("SELECT 1",)
    assert bound_texts("SELECT 1", [], "sqlite") == ("SELECT 1",)
    assert bound_texts("SELECT <id>", ids, "sqlite") == ("SELECT 1", "SELECT 2", "SELECT 3")


@pytest.mark.parametrize(
    ("left", "right", "same"),
    [
        ("SELECT  A\nFROM t ", "select a from T", True),
        ("SELECT count( * ) FROM t WHERE a>=1", "SELECT COUNT(*) FROM t WHERE a >= 1", True),
        ("SELECT a -- the first\nFROM t", "SELECT a /* the\nfirst */ FROM t", True),
        ("SELECT a -- FROM t", "SELECT a FROM t", False),
        ("SELECT 'A'", "SELECT 'a'", False),
        ("SELECT 'a  b'", "SELECT 'a b'", False),
        ("SELECT a b", "SELECT ab", False),
        ("SELECT [a  b]", "SELECT [a b]", False),
    ],
)
def test_normalise(left: str, right: str, same: bool) -> None:
    assert (normalise(left, "tsql") == normalise(right, "tsql")) is same
