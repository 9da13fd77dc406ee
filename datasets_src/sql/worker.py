"""The process that executes model-written SQL: one JSON line in, one JSON line out.

python -m datasets_src.sql.worker ~/.cache/gallipato/db-1f0c... tsql
< {"texts": ["SELECT COUNT(*) AS n FROM rutas"], "engine": "sqlite", "limit_s": 1.0,
   "max_rows": null}
> {"status": "ok", "results": [[["n"], [[64]], false]], "detail": "", "cpu_s": 0.004,
   "needs_restart": false}

With `max_rows` each result is truncated to that many rows; with null, more than MAX_ROWS rows are
"too_large".

Both databases are opened read-only, no file may be written, and the kernel limits CPU time and
memory: past its time limit the process is killed by SIGPROF. The parent (sandbox.py) reads the exit
status as the outcome, as it does after a crash, and starts another worker.

"unsupported" is SQL of another dialect whose syntax the engine lacks, which says nothing about its
validity; "invalid" is SQL that no engine would accept.
"""

import datetime
import decimal
import hashlib
import json
import math
import re
import resource
import signal
import sqlite3
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
from sqlglot import exp

from datasets_src.sql.database import Database
from datasets_src.sql.functions import add_functions
from datasets_src.sql.kinds import Kinds
from datasets_src.sql.safety import QueryRejected, parse_select
from datasets_src.sql.transpile import for_engine

START_LIMIT_S = 120.0  # CPU time; sandbox.py waits as long in wall time for an idle one
MAX_ROWS = 10_000
MAX_CELL_CHARS = 10_000  # longer texts are compared by hash
MAX_RESULT_CHARS = 4_000_000  # over all results of a request; a number counts as 8
MEMORY_MIB = 512  # beyond the idle process
DUCKDB_MEMORY_MIB = 384  # DuckDB evicts buffers here, before the process fails at MEMORY_MIB
RESTART_ABOVE_MIB = 256  # memory that the allocator keeps is missing from the next request
_ALLOWED = {
    sqlite3.SQLITE_SELECT,
    sqlite3.SQLITE_READ,
    sqlite3.SQLITE_FUNCTION,
    sqlite3.SQLITE_RECURSIVE,
}
_SQL_ERRORS = (sqlite3.Error, sqlite3.Warning, duckdb.Error, ValueError, RecursionError)
_MEMORY_ERRORS = (MemoryError, duckdb.OutOfMemoryException)
# sqlite3 has one exception class for most errors.
_MISSING_IN_SQLITE = re.compile(
    r"no such function|syntax error|unrecognized token|incomplete input|no such collation"
)
_DENIED = re.compile("not authorized|authorization denied|access to .* is prohibited")
_KINDS = {
    **{"VARCHAR": "text", "BIGINT": "integer", "DOUBLE": "number"},
    **{"DATE": "date", "TIMESTAMP": "date"},
}
# Nodes after which SQL Server may return any of the spellings that are equal without case.
_ANY_SPELLING = (exp.Distinct, exp.Group, exp.SetOperation, exp.Max, exp.Min)


class ResultTooLarge(Exception):
    """A result has more rows or characters than allowed."""


@dataclass(frozen=True)
class Engines:
    """A worker's connections, and the column types that transpiling needs."""

    dialect: str
    connections: dict[str, Any]
    kinds: Kinds


def _authorize(action: int, arg1: str | None, arg2: str | None, *_: str | None) -> int:
    if action == sqlite3.SQLITE_FUNCTION and arg2 in ("load_extension", "fts3_tokenizer"):
        return sqlite3.SQLITE_DENY
    return sqlite3.SQLITE_OK if action in _ALLOWED else sqlite3.SQLITE_DENY


def open_sqlite(path: Path, dialect: str) -> sqlite3.Connection:
    """A read-only connection that only allows SELECT."""
    uri = f"{path.resolve().as_uri()}?mode=ro&immutable=1"
    connection = sqlite3.connect(uri, uri=True, isolation_level=None)
    add_functions(connection, dialect)
    connection.execute(f"PRAGMA hard_heap_limit = {MEMORY_MIB << 20}")
    connection.execute("PRAGMA temp_store = MEMORY")
    connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, 50_000_000)
    connection.text_factory = lambda data: data.decode("utf-8", "replace")
    connection.set_authorizer(_authorize)
    return connection


def open_duckdb(path: Path, dialect: str) -> duckdb.DuckDBPyConnection:
    """A read-only connection without access to files, extensions or settings."""
    config: dict[str, str | bool | int | float | list[str]] = {
        "threads": "1",
        "memory_limit": f"{DUCKDB_MEMORY_MIB}MiB",
        "autoinstall_known_extensions": "false",
        "autoload_known_extensions": "false",
    }
    connection = duckdb.connect(str(path), read_only=True, config=config)
    if dialect == "tsql":
        connection.execute("SET default_collation = 'nocase'")
    if dialect in ("tsql", "postgres"):
        connection.execute("SET integer_division = true")
    connection.execute("SET temp_directory = ''")
    connection.execute("SET enable_external_access = false")
    connection.execute("SET lock_configuration = true")
    return connection


def open_engines(database: Database, dialect: str) -> Engines:
    """Both engines, or for an engine's own dialect only that engine."""
    connections: dict[str, Any] = {}
    if dialect != "duckdb":
        connections["sqlite"] = open_sqlite(database.sqlite, dialect)
    if dialect != "sqlite":
        connections["duckdb"] = open_duckdb(database.duckdb, dialect)
    kinds = {} if dialect == "sqlite" else _kinds(connections["duckdb"])
    return Engines(dialect, connections, kinds)


def _kinds(connection: duckdb.DuckDBPyConnection) -> Kinds:
    """Types of the columns that have the same type in every table."""
    found = connection.execute(
        "SELECT lower(column_name), min(data_type), max(data_type) "
        "FROM information_schema.columns GROUP BY 1"
    ).fetchall()
    return {name: _KINDS[low] for name, low, high in found if low == high and low in _KINDS}


def plain_value(value: Any) -> Any:
    """The JSON value by which a cell is compared: 2.0 becomes 2, bytes and dates become text."""
    if value is None or isinstance(value, bool | int):
        return None if value is None else int(value) if -(2**127) < value < 2**127 else hex(value)
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
    if len(text) > MAX_CELL_CHARS:
        digest = hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()
        return f"{text[:80]}... sha256 {digest}"
    return text


def read_rows(
    cursor: Any, remaining_chars: int, max_rows: int | None = None
) -> tuple[list[list[Any]], int]:
    """The rows of a cursor, fetched in batches, and the remaining character budget.

    Raises:
        ResultTooLarge: more than MAX_ROWS rows, or the budget is used up.
    """
    rows: list[list[Any]] = []
    while batch := cursor.fetchmany(256):
        for row in batch[: None if max_rows is None else max_rows - len(rows)]:
            rows.append([plain_value(value) for value in row])
            remaining_chars -= sum(len(c) if isinstance(c, str) else 8 for c in rows[-1])
        if len(rows) > MAX_ROWS:
            raise ResultTooLarge(f"more than {MAX_ROWS:,} rows")
        if remaining_chars < 0:
            raise ResultTooLarge(f"more than {MAX_RESULT_CHARS:,} characters")
        if len(rows) == max_rows:
            break
    return rows, remaining_chars


def iter_results(
    engines: Engines, texts: list[str], engine: str, max_rows: int | None = None
) -> Iterator[list[Any]]:
    """For each text its column names, its rows, and whether their case is unspecified."""
    connection, dialect = engines.connections[engine], engines.dialect
    remaining_chars = MAX_RESULT_CHARS
    for sql in texts:
        tree = parse_select(sql, dialect)
        caseless = dialect == "tsql" and tree.find(*_ANY_SPELLING) is not None
        names = _tsql_names(tree) if dialect == "tsql" else []
        if dialect != engine:
            sql = for_engine(tree, dialect=dialect, engine=engine, kinds=engines.kinds)
        cursor = connection.execute(sql)
        names = names or [column[0] for column in cursor.description]
        rows, remaining_chars = read_rows(cursor, remaining_chars, max_rows)
        yield [names, rows, caseless]


def _tsql_names(tree: exp.Expr) -> list[str]:
    """SQL Server's column names, "" for an unnamed one; [] if a `*` leaves them unknown."""
    selects = tree.selects if isinstance(tree, exp.Query) else []
    return [] if any(s.is_star for s in selects) else [s.output_name for s in selects]


def run_request(
    engines: Engines, texts: list[str], engine: str, max_rows: int | None = None
) -> dict[str, Any]:
    """Run `texts` up to the first that fails; returns status, results and detail."""
    status, found, detail = "ok", [], ""
    try:
        found = list(iter_results(engines, texts, engine, max_rows))
    except QueryRejected as error:
        status, detail = error.status, str(error)
    except ResultTooLarge as error:
        status, detail = "too_large", str(error)
    except _MEMORY_ERRORS:
        status, detail = "too_large", f"more than {MEMORY_MIB} MiB of memory"
    except _SQL_ERRORS as error:
        status = _status_of(error, is_own=engine == engines.dialect)
        detail = f"{type(error).__name__}: {error}"
    return {"status": status, "results": found if status == "ok" else [], "detail": detail[:300]}


def _status_of(error: BaseException, *, is_own: bool) -> str:
    if isinstance(error, duckdb.PermissionException) or _DENIED.search(str(error)):
        return "unsafe"
    if getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_TOOBIG:
        return "too_large"
    if is_own:
        return "invalid"
    is_missing = isinstance(error, duckdb.ParserException | duckdb.NotImplementedException)
    if isinstance(error, duckdb.CatalogException):
        is_missing = "Function with name" in str(error)
    if isinstance(error, sqlite3.Error):
        is_missing = _MISSING_IN_SQLITE.search(str(error)) is not None
    return "unsupported" if is_missing else "invalid"


def address_space_mib() -> float:
    """Current address space of this process, in MiB."""
    return int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize() / 2**20


def limit_process() -> float:
    """Forbid file writes and core dumps and limit memory; returns the current MiB."""
    idle_mib = address_space_mib()
    end = int(idle_mib + MEMORY_MIB) << 20
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_AS, (end, end))
    return idle_mib


def main(directory: str, dialect: str) -> None:
    """Serve requests until the parent closes the pipe."""
    signal.setitimer(signal.ITIMER_PROF, START_LIMIT_S)
    engines = open_engines(Database(Path(directory)), dialect)
    for engine in engines.connections:
        run_request(engines, ["SELECT 1"], engine)  # load what the first call imports
    idle_mib = limit_process()
    signal.setitimer(signal.ITIMER_PROF, 0)
    print(json.dumps({"status": "ready"}), flush=True)
    for line in sys.stdin:
        started = time.process_time()
        request = json.loads(line)
        signal.setitimer(signal.ITIMER_PROF, request["limit_s"])
        response = run_request(engines, request["texts"], request["engine"], request["max_rows"])
        response["cpu_s"] = time.process_time() - started
        response["needs_restart"] = address_space_mib() - idle_mib > RESTART_ABOVE_MIB
        line = json.dumps(response)
        signal.setitimer(signal.ITIMER_PROF, 0)
        print(line, flush=True)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
