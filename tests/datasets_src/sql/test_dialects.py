"""Queries in each dialect and their meaning there."""

from collections.abc import Iterator
from typing import Any

import pytest

from datasets_src.sql.database import open_database
from datasets_src.sql.sandbox import ENGINES, WorkerPool, new_pool

DUMP = """
CREATE TABLE rutas (id INTEGER, nombre TEXT, km REAL, provincia TEXT, codigo TEXT, etapas INTEGER,
                    abierta DATE, medida TIMESTAMP);
INSERT INTO rutas VALUES
 (1, 'Vía Ñ', 3.5, 'ÁVILA', 'A1', 7, '2020-02-29', '2020-02-29 08:30:00'),
 (2, 'Soria', 4, 'Soria', 'b2', 2, '2021-12-31', '2021-12-31 23:59:59'),
 (3, 'Camino', 20.25, 'Soria', 'A_3', NULL, NULL, NULL),
 (4, 'O''Hara 100%', 12, NULL, 'c4', 2, '2019-01-01', '2019-01-01 00:00:00');
"""
ONE = " FROM rutas WHERE id = 1"
TWO = " FROM rutas WHERE id = 2"
ID = "SELECT id FROM rutas WHERE "
BOTH, DUCKDB = ("sqlite", "duckdb"), ("duckdb",)  # where it runs; elsewhere it has no word

TSQL: list[tuple[str, list[tuple[Any, ...]], tuple[str, ...]]] = [
    ("SELECT TOP 2 id FROM dbo.rutas ORDER BY km DESC", [(3,), (4,)], BOTH),
    ("SELECT DISTINCT TOP (1) provincia FROM rutas ORDER BY provincia DESC", [("ÁVILA",)], BOTH),
    ("SELECT TOP 1 WITH TIES etapas FROM rutas WHERE id > 1 AND etapas > 0 ORDER BY etapas",
     [(2,), (2,)], DUCKDB),
    ("SELECT TOP 50 PERCENT id FROM rutas ORDER BY id", [(1,), (2,)], DUCKDB),
    ("SELECT id FROM rutas ORDER BY id OFFSET 1 ROWS FETCH NEXT 2 ROWS ONLY", [(2,), (3,)], BOTH),
    ("SELECT id FROM rutas ORDER BY provincia, id", [(4,), (2,), (3,), (1,)], BOTH),
    ("SELECT [id] AS [el id], \"nombre\" FROM [g].[dbo].[rutas] AS [r] WHERE [r].[km] = 12",
     [(4, "O'Hara 100%")], BOTH),
    (ID + "nombre = N'vía ñ' COLLATE Latin1_General_CI_AS", [(1,)], BOTH),
    (ID + "nombre = 'O''HARA 100%'", [(4,)], BOTH),
    (ID + "UPPER(nombre) = 'vía ñ'", [(1,)], BOTH),
    (ID + "provincia IN ('ávila', 'x')", [(1,)], BOTH),
    (ID + "nombre LIKE 'VÍA%'", [(1,)], BOTH),
    (ID + "codigo NOT LIKE 'a%'", [(2,), (4,)], BOTH),
    (ID + "codigo LIKE 'A[_]%'", [(3,)], BOTH),
    (ID + "codigo LIKE 'a!_%' ESCAPE '!'", [(3,)], BOTH),
    (ID + "codigo NOT LIKE 'a!_%' ESCAPE '!'", [(1,), (2,), (4,)], BOTH),
    (ID + "nombre LIKE '%100[%]'", [(4,)], BOTH),
    (ID + "codigo LIKE '[A-B]%'", [(1,), (2,), (3,)], BOTH),
    (ID + "codigo NOT LIKE '[^A-B]%'", [(1,), (2,), (3,)], BOTH),
    ("SELECT 7 / 2, 7 / 2.0, -7 / 2, etapas / 2, km / 2, 7 % 4" + ONE, [(3, 3.5, -3, 3, 1.75, 3)],
     BOTH),
    ("SELECT AVG(etapas), AVG(km), AVG(CAST(etapas AS FLOAT)) FROM rutas WHERE id < 3",
     [(4, 3.75, 4.5)], BOTH),
    ("SELECT AVG(CASE WHEN km > 10 THEN 1 ELSE 0 END), COUNT(*) * 10 / 3 FROM rutas", [(0, 13)],
     BOTH),
    ("SELECT CAST(km AS INT), CONVERT(INT, -km), CAST(id AS varchar(MAX)) + 'x', "
     "CAST(nombre AS varchar(3)), CAST(3.7 AS FLOAT), CAST(10.06 AS DECIMAL(9, 1))" + ONE,
     [(3, -3, "1x", "Vía", 3.7, 10.1)], BOTH),
    ("SELECT TRY_CAST('x' AS INT), TRY_CAST('7' AS INT)", [(None, 7)], DUCKDB),
    ("SELECT nombre + ' (' + provincia + ')', 1 + 2, km + id" + TWO, [("Soria (Soria)", 3, 6)],
     BOTH),
    ("SELECT CONCAT(nombre, NULL, id), ISNULL(NULL, 'X'), COALESCE(NULL, 'y'), NULLIF(id, 2)" + TWO,
     [("Soria2", "X", "y", None)], BOTH),
    ("SELECT LEN('abc  '), LEN(nombre), CHARINDEX('O', nombre), CHARINDEX('z', nombre)" + TWO,
     [(3, 5, 2, 0)], BOTH),
    ("SELECT LEFT(nombre, 2), RIGHT(nombre, 2), SUBSTRING(nombre, 2, 3), REVERSE(codigo), "
     "REPLACE(nombre, 'or', 'xx'), LTRIM(RTRIM('  a '))" + TWO,
     [("So", "ia", "ori", "2b", "Sxxia", "a")], BOTH),
    ("SELECT STRING_AGG(codigo, '+') WITHIN GROUP (ORDER BY id DESC) FROM rutas",
     [("c4+A_3+b2+A1",)], DUCKDB),
    ("SELECT IIF(km > 10, 'larga', 'corta'), CASE WHEN km > 3 THEN 1 END" + ONE, [("corta", 1)],
     BOTH),
    ("SELECT YEAR(abierta), MONTH(medida), DATEPART(day, abierta)" + ONE, [(2020, 2, 29)], BOTH),
    ("SELECT DATEPART(quarter, abierta), DATEPART(hour, medida)" + ONE, [(1, 8)], DUCKDB),
    ("SELECT DATEDIFF(day, abierta, '2020-03-02'), DATEDIFF(month, abierta, '2021-01-01'), "
     "DATEDIFF(year, abierta, '2021-01-01')" + ONE, [(2, 11, 1)], DUCKDB),
    ("SELECT CAST(DATEADD(year, -1, abierta) AS DATE), EOMONTH(abierta)" + ONE,
     [("2019-02-28", "2020-02-29")], DUCKDB),
    ("SELECT CONVERT(VARCHAR(10), abierta, 103), FORMAT(abierta, 'yyyy-MM')" + ONE,
     [("29/02/2020", "2020-02")], BOTH),
    (ID + "abierta BETWEEN '2019-01-01' AND '2020-12-31' AND medida < GETDATE()", [(1,), (4,)],
     BOTH),
    ("SELECT provincia, n = COUNT(*) FROM rutas GROUP BY provincia HAVING COUNT(*) > 1",
     [("Soria", 2)], BOTH),
    ("SELECT id, ROW_NUMBER() OVER (ORDER BY km DESC) FROM rutas ORDER BY id",
     [(1, 4), (2, 3), (3, 1), (4, 2)], BOTH),
    ("WITH r AS (SELECT 1 AS n UNION ALL SELECT n + 1 FROM r WHERE n < 3) SELECT SUM(n) FROM r",
     [(6,)], BOTH),
    ("SELECT a.id, x.n FROM rutas a CROSS APPLY "
     "(SELECT COUNT(*) AS n FROM rutas b WHERE b.km > a.km) x WHERE a.id < 3", [(1, 3), (2, 2)],
     DUCKDB),
    ("SELECT a.id, x.k FROM rutas a OUTER APPLY "
     "(SELECT b.km AS k FROM rutas b WHERE b.id = a.id AND b.km > 5) x WHERE a.id IN (2, 4)",
     [(2, None), (4, 12)], DUCKDB),
    ("SELECT id FROM rutas WITH (NOLOCK) EXCEPT SELECT 1 EXCEPT SELECT 2 ORDER BY id",
     [(3,), (4,)], BOTH),
]  # fmt: skip

POSTGRES: list[tuple[str, list[tuple[Any, ...]], tuple[str, ...]]] = [
    ("SELECT id FROM public.rutas ORDER BY km DESC LIMIT 2", [(3,), (4,)], BOTH),
    ("SELECT id FROM rutas ORDER BY id LIMIT 2 OFFSET 1", [(2,), (3,)], BOTH),
    ("SELECT id FROM rutas ORDER BY id OFFSET 1 ROWS FETCH NEXT 1 ROW ONLY", [(2,)], BOTH),
    ("SELECT etapas FROM rutas WHERE id > 1 AND etapas > 0 ORDER BY etapas "
     "FETCH FIRST 1 ROW WITH TIES", [(2,), (2,)], DUCKDB),
    ("SELECT id FROM rutas ORDER BY provincia, id", [(2,), (3,), (1,), (4,)], BOTH),
    ("SELECT DISTINCT ON (provincia) id FROM rutas WHERE provincia IS NOT NULL "
     "ORDER BY provincia, km DESC", [(3,), (1,)], BOTH),
    ("SELECT r.\"id\" AS \"el id\" FROM \"public\".\"rutas\" AS r WHERE nombre = 'O''Hara 100%'",
     [(4,)], BOTH),
    (ID + "nombre = $$Soria$$", [(2,)], BOTH),
    (ID + r"nombre = E'O\'Hara 100%'", [(4,)], DUCKDB),
    (ID + "nombre LIKE 'soria' OR nombre = 'soria'", [], BOTH),
    (ID + "nombre ILIKE '%Í%' OR nombre ILIKE 'SORIA'", [(1,), (2,)], BOTH),
    (ID + "nombre NOT ILIKE 's%' AND nombre NOT LIKE 'O%'", [(1,), (3,)], BOTH),
    (ID + r"codigo LIKE 'A\_%'", [(3,)], BOTH),
    (ID + r"codigo NOT ILIKE 'a\_%'", [(1,), (2,), (4,)], BOTH),
    (ID + "codigo LIKE 'A!_%' ESCAPE '!'", [(3,)], BOTH),
    (ID + "nombre ~ '^S' OR nombre ~* '^c' OR nombre SIMILAR TO 'V%'", [(1,), (2,), (3,)], DUCKDB),
    ("SELECT 7 / 2, 7 / 2.0, -7 / 2, etapas / 2, km / 2" + ONE, [(3, 3.5, -3, 3, 1.75)], BOTH),
    ("SELECT AVG(etapas), ROUND(AVG(km)::numeric, 1) FROM rutas WHERE id < 3", [(4.5, 3.8)], BOTH),
    ("SELECT km::int, CAST(km + 0.2 AS INTEGER), id::text || 'x', '12'::int + 1, "
     "nombre::varchar(3), 10.06::numeric(9, 1)" + ONE, [(4, 4, "1x", 13, "Vía", 10.1)], BOTH),
    ("SELECT UPPER(nombre), LENGTH(nombre), LEFT(nombre, 2), RIGHT(nombre, 1), "
     "SUBSTRING(nombre FROM 2 FOR 2)" + ONE, [("VÍA Ñ", 5, "Ví", "Ñ", "ía")], BOTH),
    ("SELECT POSITION('or' IN nombre), STRPOS(nombre, 'z'), REPLACE(nombre, 'or', 'xx'), "
     "TRIM(BOTH 'x' FROM 'xax')" + TWO, [(2, 0, "Sxxia", "a")], BOTH),
    ("SELECT SPLIT_PART('a-b-c', '-', 2), CONCAT_WS('-', 'a', NULL, 'b'), LPAD('7', 3, '0')",
     [("b", "a-b", "007")], DUCKDB),
    ("SELECT STRING_AGG(codigo, '+' ORDER BY id DESC) FROM rutas", [("c4+A_3+b2+A1",)], DUCKDB),
    ("SELECT EXTRACT(YEAR FROM abierta), DATE_PART('month', medida)" + ONE, [(2020, 2)], BOTH),
    ("SELECT EXTRACT(QUARTER FROM abierta), EXTRACT(HOUR FROM medida)" + ONE, [(1, 8)], DUCKDB),
    ("SELECT (abierta - INTERVAL '1 year')::date, abierta - DATE '2020-02-01', "
     "DATE_TRUNC('month', abierta)::date" + ONE, [("2019-02-28", 28, "2020-02-01")], DUCKDB),
    ("SELECT TO_CHAR(abierta, 'YYYY-MM'), medida::date, '2020-02-29'::date" + ONE,
     [("2020-02", "2020-02-29", "2020-02-29")], BOTH),
    (ID + "abierta BETWEEN '2019-01-01' AND '2020-12-31' AND medida < NOW()", [(1,), (4,)], BOTH),
    ("SELECT COUNT(*) FILTER (WHERE km > 10), BOOL_OR(km > 20) FROM rutas", [(2, 1)], BOTH),
    ("SELECT true, NOT true, GREATEST(1, 2), COALESCE(provincia, 'x')" + " FROM rutas WHERE id = 4",
     [(1, 0, 2, "x")], BOTH),
    (ID + "provincia IS DISTINCT FROM 'Soria'", [(1,), (4,)], BOTH),
    ("WITH RECURSIVE r(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM r WHERE n < 3) "
     "SELECT SUM(n) FROM r", [(6,)], BOTH),
    ("SELECT a.id, x.n FROM rutas a CROSS JOIN LATERAL "
     "(SELECT COUNT(*) AS n FROM rutas b WHERE b.km > a.km) x WHERE a.id < 3", [(1, 3), (2, 2)],
     DUCKDB),
    ("SELECT * FROM generate_series(1, 2) WHERE 1 = ANY(ARRAY[1, 2])", [(1,), (2,)], DUCKDB),
]  # fmt: skip

OWN: list[tuple[str, str, list[tuple[Any, ...]]]] = [
    ("sqlite", "SELECT id FROM rutas ORDER BY id LIMIT 1, 2", [(2,), (3,)]),
    ("sqlite", "SELECT [id], `km` FROM \"rutas\" WHERE provincia = \"Soria\"",
     [(2, 4), (3, 20.25)]),
    ("sqlite", ID + "nombre LIKE 's%' AND nombre GLOB 'S*'", [(2,)]),
    ("sqlite", "SELECT 7 / 2, CAST(km AS INTEGER), 'a' || id, printf('%05.1f', km)" + ONE,
     [(3, 3, "a1", "003.5")]),
    ("sqlite", "SELECT provincia, id, MAX(km) FROM rutas WHERE provincia > '' GROUP BY provincia",
     [("Soria", 3, 20.25), ("ÁVILA", 1, 3.5)]),
    ("sqlite", "SELECT strftime('%Y', abierta), date(abierta, '+1 day'), "
     "julianday('2020-01-02') - julianday('2020-01-01')" + ONE, [("2020", "2020-03-01", 1)]),
    ("sqlite", "SELECT COUNT(*) AS total FROM rutas;", [(4,)]),
    ("sqlite", "SELECT 1.0, 2, NULL, x'41', 1e400", [(1, 2, None, "A", "inf")]),
    ("duckdb", "FROM rutas SELECT id ORDER BY ALL LIMIT 1", [(1,)]),
    ("duckdb", "SELECT 7 / 2, 7 // 2, km::INT, 'a' || id" + ONE, [(3.5, 3, 4, "a1")]),
    ("duckdb", ID + "nombre ILIKE 's%' AND NOT nombre LIKE 's%'", [(2,)]),
    ("duckdb", "SELECT * EXCLUDE (abierta, medida, km)" + TWO,
     [(2, "Soria", "Soria", "b2", 2)]),
    ("duckdb", "SELECT id FROM rutas QUALIFY ROW_NUMBER() OVER (ORDER BY km DESC) = 1", [(3,)]),
    ("duckdb", "SELECT year(abierta), abierta + INTERVAL 1 DAY, strftime(medida, '%H')" + ONE,
     [(2020, "2020-03-01 00:00:00", "08")]),
    ("duckdb", "SELECT list(id ORDER BY id), median(km), arg_max(id, km) FROM rutas",
     [("[1, 2, 3, 4]", 8, 3)]),
]  # fmt: skip


@pytest.fixture(scope="module")
def pools(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, WorkerPool]]:
    path = tmp_path_factory.mktemp("dialects") / "rutas.sql"
    path.write_text(DUMP, encoding="utf-8")
    made = {
        dialect: new_pool(
            open_database(path, case_insensitive=dialect == "tsql"), dialect, num_workers=1
        )
        for dialect in ENGINES
    }
    yield made
    for pool in made.values():
        pool.close()


def engines_that_find(pool: WorkerPool, sql: str, rows: list[tuple[Any, ...]]) -> set[str]:
    """Each engine returns these rows or "unsupported"."""
    able: set[str] = set()
    for engine in ENGINES[pool.dialect]:
        outcome = pool.run([sql], engine)
        assert outcome.status in ("ok", "unsupported"), (engine, outcome)
        if outcome.status == "ok":
            able.add(engine)
            found = list(outcome.results[0].rows)
            assert found == rows or sorted(found, key=repr) == sorted(rows, key=repr), engine
            assert "ORDER BY" not in sql.upper() or found == rows, engine
    return able


@pytest.mark.parametrize(("sql", "rows", "engines"), TSQL)
def test_tsql(
    sql: str, rows: list[tuple[Any, ...]], engines: tuple[str, ...], pools: dict[str, WorkerPool]
) -> None:
    assert engines_that_find(pools["tsql"], sql, rows) == set(engines)


@pytest.mark.parametrize(("sql", "rows", "engines"), POSTGRES)
def test_postgres(
    sql: str, rows: list[tuple[Any, ...]], engines: tuple[str, ...], pools: dict[str, WorkerPool]
) -> None:
    assert engines_that_find(pools["postgres"], sql, rows) == set(engines)


@pytest.mark.parametrize(("dialect", "sql", "rows"), OWN)
def test_an_engine_runs_its_own_dialect_as_it_is_written(
    dialect: str, sql: str, rows: list[tuple[Any, ...]], pools: dict[str, WorkerPool]
) -> None:
    assert ENGINES[dialect] == (dialect,)
    assert engines_that_find(pools[dialect], sql, rows) == {dialect}


@pytest.mark.parametrize("dialect", ENGINES)
@pytest.mark.parametrize(
    "sql",
    [
        "Hola, no sé",
        "",
        "-- nothing",
        "None",
        "VALUES (1)",
        "SELECT x FROM nowhere",
        "SELECT nada FROM rutas",
        "SELECT nombre FROM rutas WHERE",
        "SELECT (1",
        "SELECT '\ud800'",
        "(" * 3000 + "SELECT 1" + ")" * 3000,
        "SELECT '" + "x" * 30_000 + "'",
    ],
)
def test_sql_that_no_engine_accepts_is_invalid(
    dialect: str, sql: str, pools: dict[str, WorkerPool]
) -> None:
    for engine in ENGINES[dialect]:
        assert pools[dialect].run([sql], engine).status == "invalid", engine


def test_an_unknown_function_is_unsupported_except_in_the_own_dialect(
    pools: dict[str, WorkerPool],
) -> None:
    found = {d: pool.run(["SELECT nada(1)"], ENGINES[d][0]).status for d, pool in pools.items()}
    assert found == {
        "sqlite": "invalid",
        "duckdb": "invalid",
        "tsql": "unsupported",
        "postgres": "unsupported",
    }
