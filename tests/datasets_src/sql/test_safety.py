"""Three layers: parser, engine and kernel each reject anything but reading."""

import hashlib
import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import duckdb
import pytest

from datasets_src.sql.database import Database, open_database
from datasets_src.sql.safety import QueryRejected, parse_select
from datasets_src.sql.sandbox import ENGINES, WorkerPool, new_pool
from datasets_src.sql.worker import open_duckdb, open_sqlite

DUMP = "CREATE TABLE rutas (id INTEGER, km REAL); INSERT INTO rutas VALUES (1, 3.5), (2, 4);"
UNSAFE = [
    "DROP TABLE rutas",
    "DELETE FROM rutas",
    "UPDATE rutas SET km = 0",
    "INSERT INTO rutas VALUES (9, 1)",
    "CREATE TABLE x AS SELECT 1",
    "ALTER TABLE rutas ADD x INT",
    "ATTACH DATABASE 'other.db' AS other",
    "ATTACH 'other.db'",
    "DETACH db",
    "PRAGMA table_info(rutas)",
    "PRAGMA",
    "SELECT 1; SELECT 2",
    "SELECT 1; DROP TABLE rutas",
    "SELECT 1 DROP TABLE rutas",
    "SELECT id FROM rutas DELETE FROM rutas",
    "SELECT id FROM rutas WHERE id = 1 UPDATE dbo.rutas SET km = 0",
    "SELECT load_extension('x.so')",
    "SELECT fts3_tokenizer('simple')",
    "INSTALL httpfs",
    "LOAD httpfs",
    "SELECT * FROM read_csv('/etc/passwd')",
    "SELECT * FROM read_text('/etc/passwd')",
    "SELECT * FROM '/etc/passwd'",
    'SELECT * FROM "rutas.parquet"',
    "SELECT * FROM pragma_database_list",
    "SELECT * FROM pragma_table_info('rutas')",
    "SELECT * FROM duckdb_settings()",
    "SELECT sleep_ms(10000)",
    "SELECT pg_sleep(10)",
    "COPY rutas TO 'rutas.csv'",
    "EXPORT DATABASE 'x'",
    "SELECT * INTO copia FROM rutas",
    "WITH x AS (DELETE FROM rutas RETURNING *) SELECT * FROM x",
    "EXEC xp_cmdshell 'ls'",
    "SET memory_limit = '100GB'",
    "VACUUM INTO 'copy.db'",
    "BEGIN TRANSACTION",
    "EXPLAIN SELECT 1",
    "CALL pragma_version()",
]
HARMLESS = [
    "SELECT 'DROP TABLE rutas; DELETE FROM rutas' AS x",
    "SELECT id -- DELETE FROM rutas\nFROM rutas",
    "SELECT update_set FROM (SELECT 1 AS update_set) AS q",
    "SELECT REPLACE('a', 'a', 'b') FROM rutas",
    "WITH t AS (SELECT id FROM rutas) SELECT * FROM t UNION SELECT 3",
]


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Database:
    path = tmp_path_factory.mktemp("safety") / "rutas.sql"
    path.write_text(DUMP, encoding="utf-8")
    return open_database(path, case_insensitive=False)


@pytest.fixture(scope="module")
def pools(database: Database) -> Iterator[dict[str, WorkerPool]]:
    made = {dialect: new_pool(database, dialect, num_workers=1) for dialect in ENGINES}
    yield made
    for pool in made.values():
        pool.close()


def digests(database: Database) -> dict[str, str]:
    files = sorted(database.directory.iterdir())
    return {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


@pytest.mark.parametrize("dialect", ENGINES)
def test_anything_but_reading_is_unsafe_and_changes_nothing(
    dialect: str, pools: dict[str, WorkerPool], database: Database
) -> None:
    before = digests(database)
    assert list(before) == ["db.duckdb", "db.sqlite"]
    pool = pools[dialect]
    for engine in ENGINES[dialect]:
        assert {sql: pool.run([sql], engine).status for sql in UNSAFE} == dict.fromkeys(
            UNSAFE, "unsafe"
        )
        assert pool.run(["SELECT COUNT(*) FROM rutas"], engine).results[0].rows == ((2,),)
    assert digests(database) == before


def test_duckdb_lists_no_files(pools: dict[str, WorkerPool]) -> None:
    assert pools["duckdb"].run(["SELECT * FROM glob('*')"], "duckdb").status == "unsafe"


@pytest.mark.parametrize("dialect", ENGINES)
def test_words_in_quotes_comments_and_names_are_harmless(
    dialect: str, pools: dict[str, WorkerPool]
) -> None:
    for engine in ENGINES[dialect]:
        assert [pools[dialect].run([sql], engine).status for sql in HARMLESS] == ["ok"] * len(
            HARMLESS
        )


def test_prose_is_invalid_rather_than_unsafe() -> None:
    for sql in ("Hola, no sé", "There is no table of that name", "null", ""):
        with pytest.raises(QueryRejected) as caught:
            parse_select(sql, "sqlite")
        assert caught.value.status == "invalid", sql


@pytest.mark.parametrize(
    "sql",
    [
        "DELETE FROM rutas",
        "CREATE TABLE x (a)",
        "CREATE TEMP TABLE x (a)",
        "ATTACH 'other.db' AS other",
        "PRAGMA table_info(rutas)",
        "PRAGMA writable_schema = ON",
        "VACUUM INTO 'copy.db'",
        "SELECT load_extension('x.so')",
        "BEGIN",
    ],
)
def test_sqlite_rejects_what_the_parser_would_accept(sql: str, database: Database) -> None:
    connection = open_sqlite(database.sqlite, "sqlite")
    with pytest.raises(
        sqlite3.DatabaseError, match=r"not authorized|authorization denied|prohibited"
    ):
        connection.execute(sql)
    connection.close()


def test_duckdb_rejects_what_the_parser_would_accept(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "there.csv").write_text("a\n1\n")
    connection = open_duckdb(database.duckdb, "tsql")
    for sql in (
        "DELETE FROM rutas",
        "CREATE TABLE x (a INT)",
        "ATTACH 'other.db' AS other",
        "COPY rutas TO 'rutas.csv'",
        "SELECT * FROM read_csv('there.csv')",
        "SELECT * FROM 'there.csv'",
        "SELECT * FROM glob('*')",
        "INSTALL httpfs",
        "LOAD httpfs",
        "SET memory_limit = '100GB'",
        "SET enable_external_access = true",
        "PRAGMA database_size; EXPORT DATABASE 'x'",
    ):
        with pytest.raises(duckdb.Error):
            connection.execute(sql)
    connection.close()
    assert [path.name for path in tmp_path.iterdir()] == ["there.csv"]


def test_the_kernel_forbids_file_writes(tmp_path: Path) -> None:
    code = (
        "import sys; from datasets_src.sql.worker import limit_process; limit_process()\n"
        "with open(sys.argv[1], 'w') as file: file.write('x')"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "x")], capture_output=True, text=True
    )
    assert done.returncode == 1 and "File too large" in done.stderr


def test_the_kernel_kills_a_worker_at_its_limit_and_nothing_else(database: Database) -> None:
    pool = new_pool(database, "sqlite", num_workers=1)
    pool.run(["SELECT 1"], "sqlite")
    process = pool._workers[0].process
    assert process is not None
    os.kill(process.pid, signal.SIGPROF)
    process.wait()
    assert pool.run(["SELECT 1"], "sqlite").status == "ok"  # not blamed on the next one
    pool.close()


def test_a_worker_inherits_no_secrets(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    pool = new_pool(database, "sqlite", num_workers=1)
    pool.run(["SELECT 1"], "sqlite")
    process = pool._workers[0].process
    assert process is not None
    environment = Path(f"/proc/{process.pid}/environ").read_bytes()
    pool.close()
    assert b"hf_secret" not in environment and b"PATH=" in environment
