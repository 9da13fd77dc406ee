"""What a model may write: it is run, or refused, or stopped; the worker lives on."""

import hashlib
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from datasets_src.sql import sandbox
from datasets_src.sql.database import Database, open_database
from datasets_src.sql.sandbox import ENGINES, Engine, Pool, new_pool

DUMP = """
CREATE TABLE rutas (id INTEGER, nombre TEXT, km REAL, provincia TEXT, codigo TEXT);
INSERT INTO rutas VALUES (1, 'Vía Ñ', 3.5, 'ÁVILA', 'A1'), (2, 'Soria', 4, 'Soria', 'b2');
CREATE TABLE puntos (n INTEGER);
WITH RECURSIVE r(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM r WHERE n < 20000)
INSERT INTO puntos SELECT n FROM r;
"""


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("sandbox") / "rutas.sql"
    path.write_text(DUMP, encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def database(source: Path) -> Database:
    return open_database(source, case_insensitive=False)


@pytest.fixture(scope="module")
def pool(database: Database) -> Iterator[Pool]:
    pool = new_pool(database, "sqlite", num_workers=1)
    yield pool
    pool.close()


@pytest.fixture(scope="module")
def tsql(source: Path) -> Iterator[Pool]:
    pool = new_pool(open_database(source, case_insensitive=True), "tsql", num_workers=1)
    yield pool
    pool.close()


UNSAFE = [
    "DROP TABLE rutas",
    "DELETE FROM rutas",
    "UPDATE rutas SET km = 0",
    "INSERT INTO rutas VALUES (9, 'x', 1, 'y', 'z')",
    "ATTACH DATABASE 'other.db' AS other",
    "PRAGMA table_info(rutas)",
    "SELECT 1; SELECT 2",
    "SELECT 1; DROP TABLE rutas",
    "SELECT load_extension('x.so')",
    "SELECT * FROM read_csv('/etc/passwd')",
    "SELECT * FROM '/etc/passwd'",
    "SELECT * FROM pragma_database_list",
    "COPY rutas TO 'rutas.csv'",
    "SELECT * INTO copia FROM rutas",
    "WITH x AS (DELETE FROM rutas RETURNING *) SELECT * FROM x",
    "EXEC xp_cmdshell 'ls'",
    "SET memory_limit = '100GB'",
    "VACUUM INTO 'copy.db'",
]


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("sql", UNSAFE)
def test_what_does_more_than_read_is_unsafe_and_changes_nothing(
    sql: str, engine: Engine, pool: Pool, tsql: Pool, database: Database
) -> None:
    before = [hashlib.sha256(path.read_bytes()).digest() for path in files(database)]
    assert pool.run(sql, engine).status == "unsafe"
    assert tsql.run(sql, engine).status == "unsafe"
    assert [hashlib.sha256(path.read_bytes()).digest() for path in files(database)] == before
    assert pool.run("SELECT COUNT(*) FROM rutas", engine).rows == ((2,),)


def files(database: Database) -> list[Path]:
    assert len(list(database.directory.iterdir())) == 2
    return [database.sqlite, database.duckdb]


ENDLESS = "WITH RECURSIVE r(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM r) SELECT MAX(n) FROM r"
CROSS = "SELECT SUM(a.n * b.n * c.n) FROM puntos a, puntos b, puntos c"


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("sql", [ENDLESS, CROSS])
def test_a_query_without_end_is_stopped_and_the_worker_serves_the_next(
    sql: str, engine: Engine, pool: Pool
) -> None:
    pool.run("SELECT 1", engine)
    process = pool._all[0].process
    started = time.monotonic()
    assert pool.run(sql, engine).status == "timeout"
    assert time.monotonic() - started < sandbox.KILL_AFTER_S + 0.5
    assert pool.run("SELECT COUNT(*) FROM rutas", engine).rows == ((2,),)
    assert process is not None and (pool._all[0].process is process or process.returncode == -9)


def test_a_worker_that_hangs_in_one_call_is_killed_and_replaced(tsql: Pool) -> None:
    """A regular expression cannot be interrupted; only the parent can end it."""
    tsql.run("SELECT 1", "sqlite")
    process = tsql._all[0].process
    slow = "SELECT '" + "a" * 60 + "' LIKE '" + "%a" * 20 + "%b'"
    assert tsql.run(slow, "sqlite").status == "timeout"
    assert process is not None and process.returncode == -9
    assert tsql.run("SELECT 1", "sqlite").rows == ((1,),)


def test_a_worker_that_dies_finds_the_sql_invalid_and_is_replaced(pool: Pool) -> None:
    pool.run("SELECT 1", "sqlite")
    process = pool._all[0].process
    assert process is not None
    process.kill()
    process.wait()
    assert pool.run("SELECT 1", "sqlite").status == "invalid"
    assert pool.run("SELECT 1", "sqlite").rows == ((1,),)


@pytest.mark.parametrize("engine", ENGINES)
def test_too_many_rows_and_too_long_texts(engine: Engine, pool: Pool) -> None:
    assert pool.run("SELECT n FROM puntos", engine).status == "too_many_rows"
    assert len(pool.run("SELECT n FROM puntos WHERE n <= 10000", engine).rows) == 10_000
    assert pool.run("SELECT '" + "x" * 30_000 + "'", engine).status == "invalid"


def test_memory_has_an_end(pool: Pool) -> None:
    assert pool.run("SELECT zeroblob(900000000)", "sqlite").status == "invalid"
    status = pool.run("SELECT list_sum(range(2000000000))", "duckdb").status
    assert status in ("invalid", "timeout")


@pytest.mark.parametrize(
    ("sql", "rows"),
    [
        ("SELECT 1.0, 2, NULL, 'Á'", ((1, 2, None, "Á"),)),
        ("SELECT nombre FROM rutas WHERE provincia = 'ávila'", ()),
        ("SELECT id FROM rutas WHERE codigo LIKE 'B%'", ((2,),)),
        ("SELECT COUNT(*) AS total FROM rutas;", ((2,),)),
        ("VALUES (1)", None),
        ("Hola, no sé", None),
        ("", None),
        ("None", None),
        ("SELECT x FROM nowhere", None),
        ("(" * 3000 + "SELECT 1" + ")" * 3000, None),
        ("SELECT '\ud800'", None),
    ],
)
def test_sqlite_dialect_in_both_engines(
    sql: str, rows: tuple[tuple[object, ...], ...] | None, pool: Pool
) -> None:
    for engine in ENGINES:
        outcome = pool.run(sql, engine)
        assert outcome.status == ("invalid" if rows is None else "ok"), outcome
        assert outcome.rows == (rows or ())


@pytest.mark.parametrize(
    ("sql", "rows"),
    [
        ("SELECT [nombre] FROM [dbo].[rutas] WHERE [provincia] = N'ávila'", (("vía ñ",),)),
        ("SELECT id FROM rutas WHERE UPPER(nombre) = 'vía ñ'", ((1,),)),
        ("SELECT id FROM rutas WHERE nombre LIKE 'VÍA%'", ((1,),)),
        ("SELECT id FROM rutas WHERE codigo = 'B2' AND LEN(nombre) > 3", ((2,),)),
        ("SELECT TOP 1 id FROM rutas ORDER BY km DESC", ((2,),)),
        ("SELECT TOP (1) nombre + ' (' + provincia + ')' FROM rutas", (("vía ñ (ávila)",),)),
        (
            "SELECT CONCAT(nombre, NULL, id), LEFT(codigo, 1) FROM rutas WHERE id = 2",
            (("soria2", "b"),),
        ),
        (
            "SELECT RIGHT(nombre, 3), DATEPART(month, CAST('2024-05-17' AS date)) "
            "FROM rutas WHERE id = 2",
            (("ria", 5),),
        ),
        (
            "SELECT UPPER('a' + codigo) + 'z' COLLATE Latin1_General_CI_AS FROM rutas WHERE id = 1",
            (("aa1z",),),
        ),
        ("SELECT 1 + 2, km + id FROM rutas WHERE id = 2", ((3, 6),)),
        (
            "SELECT ISNULL(NULL, 'X'), CAST(id AS varchar(MAX)) FROM dbo.rutas r WHERE id = 1",
            (("x", "1"),),
        ),
        (
            "WITH r AS (SELECT 1 AS n UNION ALL SELECT n + 1 FROM r WHERE n < 3) "
            "SELECT SUM(n) FROM r",
            ((6,),),
        ),
        ("SELECT IIF(YEAR(GETDATE()) > 2000, 1, 0)", ((1,),)),
        (
            "SELECT COUNT(DISTINCT provincia) FROM rutas WHERE provincia IN ('ÁVILA', 'ávila')",
            ((1,),),
        ),
    ],
)
def test_tsql_means_the_same_in_both_engines(
    sql: str, rows: tuple[tuple[object, ...], ...], tsql: Pool
) -> None:
    for engine in ENGINES:
        outcome = tsql.run(sql, engine)
        assert (outcome.status, outcome.rows) == ("ok", rows), (engine, outcome)


def test_postgres_means_the_same_in_both_engines(database: Database) -> None:
    pool = new_pool(database, "postgres", num_workers=1)
    sql = "SELECT km::int, LEFT(r.nombre, 2) FROM public.rutas AS r WHERE nombre ILIKE 'SORIA'"
    found = [pool.run(sql, engine) for engine in ENGINES]
    none = [pool.run("SELECT 1 FROM rutas WHERE nombre LIKE 'soria'", e) for e in ENGINES]
    pool.close()
    assert [outcome.rows for outcome in found] == [((4, "So"),)] * 2, found
    assert [(outcome.status, outcome.rows) for outcome in none] == [("ok", ())] * 2


@settings(max_examples=60, deadline=None)
@given(text=st.text(max_size=60), start=st.sampled_from(["", "SELECT ", "SELECT * FROM rutas "]))
def test_no_text_raises(text: str, start: str, pool: Pool) -> None:
    for engine in ENGINES:
        status = pool.run(start + text, engine).status
        assert status in {"ok", "invalid", "unsafe", "timeout", "too_many_rows"}
    assert pool.run("SELECT 1", "sqlite").status == "ok"


def test_a_worker_sees_no_secret_of_the_environment(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    pool = new_pool(database, "sqlite", num_workers=1)
    pool.run("SELECT 1", "sqlite")
    process = pool._all[0].process
    assert process is not None
    environment = Path(f"/proc/{process.pid}/environ").read_bytes()
    pool.close()
    assert b"hf_secret" not in environment and b"PATH=" in environment
