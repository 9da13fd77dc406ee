"""For any reply: scores of 0 or 1, in bounded CPU time, and no file written or changed."""

import hashlib
import os
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from datasets_src.sql import judge as judge_module
from datasets_src.sql.sandbox import Engine, Outcome, WorkerPool, close_pools
from datasets_src.tasks import text2sql
from datasets_src.types import Example

ROOT = Path(__file__).resolve().parents[3]
CACHES = {".hypothesis", ".pytest_cache", ".ruff_cache", ".mypy_cache", "__pycache__"}
DUMP = """
CREATE TABLE rutas (id INTEGER, nombre TEXT, km REAL);
WITH RECURSIVE r(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM r WHERE n < 3000)
INSERT INTO rutas SELECT n, 'ruta ' || n, n * 1.5 FROM r;
"""
# The limit is 1 s, here less for speed. Scoring adds about 0.05 s of CPU time; a text that took
# quadratic time would add minutes.
LIMIT_S, OVERHEAD_S = 0.2, 0.5
DIALECTS = ("sqlite", "duckdb", "tsql")

Check = Callable[[str, str], dict[str, float]]


@pytest.fixture(scope="module")
def check(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Check]:
    """Scores a reply and checks files and CPU time, of this process and the workers."""
    home = tmp_path_factory.mktemp("any")
    (home / "tmp").mkdir()
    (home / "rutas.sql").write_text(DUMP, encoding="utf-8")
    spent_s: list[float] = []
    run = WorkerPool.run

    def timed(self: WorkerPool, texts: Sequence[str], engine: Engine, limit_s: float) -> Outcome:
        outcome = run(self, texts, engine, limit_s)
        spent_s.append(outcome.cpu_s)
        return outcome

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(home / "cache"))
        patch.setenv("TMPDIR", str(home / "tmp"))
        patch.setattr(judge_module, "TIME_LIMIT_S", LIMIT_S)
        patch.setattr(WorkerPool, "run", timed)
        examples = {dialect: example(home / "rutas.sql", dialect) for dialect in DIALECTS}
        for one in examples.values():
            text2sql.score(one, "SELECT 1")
        before = state(home)

        def check(reply: str, dialect: str) -> dict[str, float]:
            spent_s.clear()
            started = time.process_time()
            scores = text2sql.score(examples[dialect], reply)
            why = text2sql.why(examples[dialect], reply, scores)
            spent = time.process_time() - started + sum(spent_s)
            assert spent < LIMIT_S + OVERHEAD_S, (spent, spent_s)
            assert tuple(scores) == text2sql.METRICS and set(scores.values()) <= {0.0, 1.0}
            assert (why == "") == (scores["execution_accuracy"] == 1)
            return scores

        yield check
        assert state(home) == before
        close_pools()


def example(source: Path, dialect: str) -> Example:
    options = text2sql.Options.model_validate(
        {"database": str(source), "dialect": dialect, "placeholders": {"<id>": [1, 2, 3]}}
    )
    row = {"id": "1", "question": "¿Qué ruta?", "sql": "SELECT nombre FROM rutas WHERE id = <id>"}
    return next(text2sql.load([row], options))


def state(home: Path) -> dict[str, str]:
    """Content hashes of all files that a worker could have written; the lock file is empty."""
    files = {path for path in home.rglob("*") if path.is_file()}
    assert not list((home / "tmp").iterdir())
    found = {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}
    return found | dict.fromkeys(set(os.listdir(ROOT)) - CACHES, "")


COLUMN = st.sampled_from(["id", "nombre", "km", "r.id", "nada", "*", "<id>", '"km"', "[id]", "``"])
LITERAL = st.sampled_from(
    ["1", "'a'", "NULL", "1e400", "-1", "''''", "'\x00'", "'😀'", "x'00'", "9" * 400, "'", "0.1"]
)
ATOM = COLUMN | LITERAL
OPERATOR = st.sampled_from(
    ["=", "<>", "<", "+", "/", "||", "AND", "OR", "LIKE", "NOT LIKE", "IN", "IS", "%", "->", "::"]
)
FUNCTION = st.sampled_from(
    ["COUNT", "MAX", "AVG", "UPPER", "LEN", "DATEADD", "CAST", "nada", "STRING_AGG", "ROUND", "TOP"]
)


def deeper(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.one_of(
        st.tuples(inner, OPERATOR, inner).map(" ".join),
        st.tuples(FUNCTION, inner, inner).map(lambda t: f"{t[0]}({t[1]}, {t[2]})"),
        st.tuples(FUNCTION, inner).map(lambda t: f"{t[0]}({t[1]})"),
        inner.map(lambda x: f"({x})"),
        inner.map(lambda x: f"(SELECT {x} FROM rutas)"),
        inner.map(lambda x: f"CASE WHEN {x} THEN {x} END"),
        inner.map(lambda x: f"CAST({x} AS INT)"),
    )


EXPRESSION = st.recursive(ATOM, deeper, max_leaves=6)
CLAUSE = st.one_of(
    EXPRESSION.map(lambda x: f"WHERE {x}"),
    EXPRESSION.map(lambda x: f"GROUP BY {x}"),
    EXPRESSION.map(lambda x: f"ORDER BY {x} DESC"),
    EXPRESSION.map(lambda x: f"JOIN rutas r ON {x}"),
    EXPRESSION.map(lambda x: f"UNION ALL SELECT {x}"),
    st.sampled_from(
        [
            "LIMIT 3",
            "OFFSET 1",
            ", rutas r",
            ";",
            "-- x",
            "/*",
            "FETCH FIRST 1 ROW ONLY",
            "FROM",
            ")",
        ]
    ),
)
SQL = st.tuples(
    st.sampled_from(
        ["SELECT ", "SELECT DISTINCT ", "WITH q AS (SELECT 1) SELECT ", "```sql\nSELECT "]
    ),
    st.lists(EXPRESSION, min_size=1, max_size=3).map(", ".join),
    st.sampled_from(
        [" FROM rutas ", " FROM rutas AS r ", " FROM dbo.rutas r ", " ", " FROM nada "]
    ),
    st.lists(CLAUSE, max_size=3).map(" ".join),
).map("".join)
BOUNDLESS = settings(
    max_examples=100,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@BOUNDLESS
@given(reply=st.text(max_size=80), dialect=st.sampled_from(DIALECTS))
def test_any_text_has_scores(reply: str, dialect: str, check: Check) -> None:
    assert check(reply, dialect)["execution_accuracy"] == 0


@BOUNDLESS
@given(reply=SQL, dialect=st.sampled_from(DIALECTS))
def test_half_valid_sql_has_scores(reply: str, dialect: str, check: Check) -> None:
    check(reply, dialect)


@pytest.mark.parametrize("dialect", ["duckdb", "tsql"])
@pytest.mark.parametrize(
    "reply",
    [
        "(" * 9_000 + "SELECT 1" + ")" * 9_000,
        "SELECT " + "-" * 15_000 + "1",
        "SELECT " + "NOT " * 4_000 + "1",
        "SELECT " + "1 + " * 4_000 + "1",
        "SELECT 1" + " UNION ALL SELECT 1" * 900,
        "SELECT " + "(SELECT " * 1_500 + "1" + ")" * 1_500,
        "SELECT " + "CASE WHEN 1 = 1 THEN " * 700 + "1" + " END" * 700,
        "SELECT * FROM rutas" + " JOIN rutas USING (id)" * 800,
        "SELECT '" + "x" * 19_000 + "'",
        "SELECT " + "9" * 19_000,
        "SELECT 1 AS " + "a" * 19_000,
        "SELECT '" * 1_000_000,
        "```" * 300_000,
        "<id>" * 4_000,
        "SELECT '" + "<id>" * 4_000 + "'",
        "\x00" * 1_000,
        "SELECT '\ud800', '\x00', '\U0010ffff'",
        ";" * 10_000,
    ],
    ids=lambda reply: repr(reply[:24]),
)
def test_long_and_deep_texts_have_scores(reply: str, dialect: str, check: Check) -> None:
    assert check(reply, dialect)["execution_accuracy"] == 0


RECURSIVE = "WITH {} r(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM r) SELECT "


@pytest.mark.parametrize(
    ("dialect", "reply"),
    [
        ("sqlite", RECURSIVE.format("RECURSIVE") + "SUM(n) FROM r"),
        ("sqlite", RECURSIVE.format("RECURSIVE") + "n FROM r ORDER BY n DESC"),
        ("sqlite", "SELECT COUNT(*) FROM rutas a, rutas b, rutas c WHERE a.km + b.km < c.km"),
        ("sqlite", "SELECT group_concat(hex(zeroblob(1000000))) FROM rutas"),
        ("duckdb", RECURSIVE.format("RECURSIVE") + "SUM(n) FROM r"),
        ("duckdb", "SELECT SUM(a.range * b.range) FROM range(1000000) a, range(1000000) b"),
        ("duckdb", "SELECT repeat('x', 2000000000)"),
        ("duckdb", "SELECT string_agg(repeat('x', 1000000), '') FROM rutas"),
        ("tsql", RECURSIVE.format("") + "SUM(n) FROM r OPTION (MAXRECURSION 0)"),
        ("tsql", "SELECT COUNT(*) FROM rutas a CROSS JOIN rutas b CROSS JOIN rutas c"),
        ("tsql", "SELECT id FROM rutas WHERE '" + "a" * 60 + "' LIKE '" + "%a" * 20 + "%b'"),
    ],
)
def test_endless_queries_are_stopped(dialect: str, reply: str, check: Check) -> None:
    scores = check(reply, dialect)
    assert scores["timed_out"] + scores["too_large"] == 1
    assert check("SELECT nombre FROM rutas WHERE id = <id>", dialect)["execution_accuracy"] == 1
