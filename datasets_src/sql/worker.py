"""The process that runs SQL of a model: one JSON line in, one JSON line out.

python -m datasets_src.sql.worker ~/.cache/gallipato/db-1f0c... tsql
< {"sql": "SELECT COUNT(*) FROM rutas", "engine": "sqlite"}
> {"status": "ok", "rows": [[64]], "detail": ""}

It opens both databases read-only, may not write a file, and is bounded in time and memory. A crash
here is an answer too: the parent (sandbox.py) reads it as invalid SQL and starts another one.
"""

import datetime
import decimal
import hashlib
import json
import math
import resource
import sqlite3
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

import duckdb
from sqlglot import exp

from datasets_src.sql.database import Database
from datasets_src.sql.functions import add_functions
from datasets_src.sql.transpile import Refused, for_engine, parse_select

MAX_ROWS = 10_000
MAX_CELL_CHARS = 10_000  # longer texts are compared by their hash
MAX_RESULT_CHARS = 8_000_000
# Of the processor, so that a busy machine does not change a score; the wall clock only backs it.
TIME_LIMIT_S = 1.0
WALL_LIMIT_S = 2.5
MEMORY_MIB = 512
ADDRESS_SPACE_GIB = 4  # both engines, Python and the libraries' maps; 1.3 GiB when idle
_ALLOWED = {
    sqlite3.SQLITE_SELECT,
    sqlite3.SQLITE_READ,
    sqlite3.SQLITE_FUNCTION,
    sqlite3.SQLITE_RECURSIVE,
}
_FAULTS = (sqlite3.Error, sqlite3.Warning, duckdb.Error, ValueError, RecursionError, MemoryError)


class TooManyRows(Exception):
    """More rows or characters than a result may have."""


def _authorize(action: int, first: str | None, second: str | None, *_: str | None) -> int:
    if action == sqlite3.SQLITE_FUNCTION and second in ("load_extension", "fts3_tokenizer"):
        return sqlite3.SQLITE_DENY
    return sqlite3.SQLITE_OK if action in _ALLOWED else sqlite3.SQLITE_DENY


def open_sqlite(path: Path, dialect: str) -> sqlite3.Connection:
    """A read-only connection that can do nothing but SELECT."""
    uri = f"{path.resolve().as_uri()}?mode=ro&immutable=1"
    connection = sqlite3.connect(uri, uri=True, isolation_level=None, check_same_thread=False)
    add_functions(connection, dialect)
    connection.execute(f"PRAGMA hard_heap_limit = {MEMORY_MIB << 20}")
    connection.execute("PRAGMA temp_store = MEMORY")
    connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, 50_000_000)
    connection.text_factory = lambda data: data.decode("utf-8", "replace")
    connection.set_authorizer(_authorize)
    return connection


def open_duckdb(path: Path, dialect: str) -> duckdb.DuckDBPyConnection:
    """A read-only connection without files, extensions or settings."""
    config: dict[str, str | bool | int | float | list[str]] = {
        "threads": "1",
        "memory_limit": f"{MEMORY_MIB}MB",
        "autoinstall_known_extensions": "false",
        "autoload_known_extensions": "false",
    }
    if dialect == "tsql":
        config["default_collation"] = "nocase"
    connection = duckdb.connect(str(path), read_only=True, config=config)
    connection.execute("SET temp_directory = ''")
    connection.execute("SET enable_external_access = false")
    connection.execute("SET lock_configuration = true")
    return connection


def text_columns(connection: sqlite3.Connection) -> frozenset[str]:
    """Lower-case names of the columns that hold text in every table that has them."""
    found = connection.execute(
        "SELECT lower(c.name), min(c.type = 'TEXT') FROM sqlite_master AS t, "
        "pragma_table_info(t.name) AS c WHERE t.type = 'table' GROUP BY 1"
    ).fetchall()
    return frozenset(name for name, is_text in found if is_text)


@contextmanager
def time_limit(interrupt: Callable[[], None]) -> Iterator[threading.Event]:
    """Call `interrupt` at the time limit; the event yielded says that it was."""
    done, expired = threading.Event(), threading.Event()
    cpu_end, wall_end = time.process_time() + TIME_LIMIT_S, time.monotonic() + WALL_LIMIT_S

    def watch() -> None:
        while not done.wait(0.02):
            if time.process_time() > cpu_end or time.monotonic() > wall_end:
                expired.set()
                interrupt()

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield expired
    finally:
        done.set()
        thread.join()


def plain_value(value: Any, fold: bool) -> Any:
    """A JSON value by which cells are compared: 2.0 is 2, bytes and dates are text."""
    if value is None or isinstance(value, bool | int):
        return None if value is None else int(value)
    if isinstance(value, float | decimal.Decimal):
        number = float(value)
        if not math.isfinite(number):
            return str(number)
        return int(number) if number.is_integer() and abs(number) < 2**53 else number
    if isinstance(value, bytes):
        value = value.decode("utf-8", "backslashreplace")
    elif isinstance(value, datetime.datetime):
        value = value.isoformat(sep=" ")
    text = value if isinstance(value, str) else str(value)
    text = text.casefold() if fold else text
    if len(text) > MAX_CELL_CHARS:
        return (
            f"{text[:80]}... sha256 {hashlib.sha256(text.encode('utf-8', 'replace')).hexdigest()}"
        )
    return text


def plain_rows(rows: list[tuple[Any, ...]], fold: bool) -> list[list[Any]]:
    """Rows as JSON; raises TooManyRows."""
    if len(rows) > MAX_ROWS:
        raise TooManyRows(f"more than {MAX_ROWS} rows")
    plain, num_chars = [], 0
    for row in rows:
        plain.append([plain_value(value, fold) for value in row])
        num_chars += sum(len(cell) for cell in plain[-1] if isinstance(cell, str))
        if num_chars > MAX_RESULT_CHARS:
            raise TooManyRows(f"more than {MAX_RESULT_CHARS} characters")
    return plain


def answer(
    sql: str, connection: Any, *, translate: Callable[[str], str], fold: bool
) -> dict[str, Any]:
    """Run one text and say how it went; `connection` is of SQLite or DuckDB."""
    status, rows, detail = "ok", [], ""
    with time_limit(connection.interrupt) as expired:
        try:
            rows = plain_rows(connection.execute(translate(sql)).fetchmany(MAX_ROWS + 1), fold)
        except Refused as error:
            status, detail = error.status, str(error)
        except TooManyRows as error:
            status, detail = "too_many_rows", str(error)
        except _FAULTS as error:
            status, detail = _status_of(error), f"{type(error).__name__}: {error}"
    if expired.is_set() and status != "ok":
        status, detail = "timeout", f"more than {TIME_LIMIT_S:g} s"
    return {"status": status, "rows": rows if status == "ok" else [], "detail": detail[:300]}


def _status_of(error: BaseException) -> str:
    refused = isinstance(error, duckdb.PermissionException) or "not authorized" in str(error)
    return "unsafe" if refused else "invalid"


def limit_process() -> None:
    """No file may be written, no core dumped, and memory has an end."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_AS, (ADDRESS_SPACE_GIB << 30, ADDRESS_SPACE_GIB << 30))


def main(directory: str, dialect: str) -> None:
    """Answer requests until the parent closes the pipe."""
    database = Database(Path(directory))
    limit_process()
    plain = sqlite3.connect(f"{database.sqlite.resolve().as_uri()}?mode=ro", uri=True)
    columns = text_columns(plain)
    plain.close()
    connections: dict[str, Any] = {
        "sqlite": open_sqlite(database.sqlite, dialect),
        "duckdb": open_duckdb(database.duckdb, dialect),
    }

    @lru_cache(maxsize=4)
    def parse(sql: str) -> exp.Expr:
        return parse_select(sql, dialect)

    print(json.dumps({"status": "ready"}), flush=True)
    for line in sys.stdin:
        request = json.loads(line)
        engine = request["engine"]

        def translate(sql: str, engine: str = engine) -> str:
            return for_engine(parse(sql), sql, dialect=dialect, engine=engine, text_columns=columns)

        fold = dialect == "tsql"
        reply = answer(request["sql"], connections[engine], translate=translate, fold=fold)
        print(json.dumps(reply), flush=True)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
