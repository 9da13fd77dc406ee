"""The same tables in SQLite and in DuckDB, built once per source and cached by its content hash.

open_database("datasets_src/shipped/senderos/senderos.sql", case_insensitive=False)
-> Database(directory=~/.cache/gallipato/db-1f0c.../)      with db.sqlite and db.duckdb
"""

import datetime
import fcntl
import hashlib
import os
import re
import sqlite3
from collections import Counter
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa

from datasets_src.files import write_atomically
from datasets_src.sql.functions import COLLATION, add_functions
from datasets_src.sql.sources import Tables, read_tables, source_files

BUILD_VERSION = 1  # part of the hash: raise it when the format of the built files changes
_TYPES = {
    pa.int64(): ("INTEGER", "BIGINT"),
    pa.float64(): ("REAL", "DOUBLE"),
    pa.string(): ("TEXT", "VARCHAR"),
    pa.binary(): ("BLOB", "BLOB"),
    pa.date32(): ("TEXT", "DATE"),
    pa.timestamp("us"): ("TEXT", "TIMESTAMP"),
}


@dataclass(frozen=True)
class Database:
    """A directory with `db.sqlite` and `db.duckdb`, immutable once built."""

    directory: Path

    @property
    def sqlite(self) -> Path:
        return self.directory / "db.sqlite"

    @property
    def duckdb(self) -> Path:
        return self.directory / "db.duckdb"


def cache_root() -> Path:
    """`$XDG_CACHE_HOME/gallipato`, or `~/.cache/gallipato`."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "gallipato"


def open_database(source: str | Path, *, case_insensitive: bool) -> Database:
    """Both databases of `source`, built if the cache lacks this content.

    Args:
        source: any source that sql/sources.py reads.
        case_insensitive: text columns compare as SQL Server's do.

    Raises:
        UserError: the source is missing or cannot be read.
    """
    path = Path(source)
    files = source_files(path)
    signature = tuple((str(f), f.stat().st_size, f.stat().st_mtime_ns) for f in files)
    kind = "nocase" if case_insensitive else "case"
    root = cache_root()
    directory = root / f"db-{_digest(signature, kind)[:20]}"
    if not directory.exists():
        root.mkdir(parents=True, exist_ok=True)
        with (root / f"{directory.name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not directory.exists():
                _build(path, directory, case_insensitive=case_insensitive)
    return Database(directory)


@lru_cache(maxsize=64)
def _digest(signature: tuple[tuple[str, int, int], ...], kind: str) -> str:
    """sha256 of the files' bytes; the sizes and modification times only key this cache."""
    digest = hashlib.sha256(f"{BUILD_VERSION} {kind}".encode())
    base = Path(signature[0][0]).parent
    for name, size, _ in signature:
        digest.update(f"\0{os.path.relpath(name, base)}\0{size}\0".encode())
        with open(name, "rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()


def _build(source: Path, directory: Path, *, case_insensitive: bool) -> None:
    """Write both files to a temporary directory and rename it, so a killed build leaves none."""
    with write_atomically(directory) as part:  # we hold the lock
        part.mkdir()
        tables = read_tables(source)
        _write_sqlite(tables, part / "db.sqlite", case_insensitive=case_insensitive)
        _write_duckdb(tables, part / "db.duckdb")


def _quote(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _write_duckdb(tables: Tables, path: Path) -> None:
    connection = duckdb.connect(str(path))
    try:
        for name, table in tables.items():
            columns = [f"{_quote(f.name)} {_TYPES[f.type][1]}" for f in table.schema]
            connection.execute(f"CREATE TABLE {_quote(name)} ({', '.join(columns)})")
            connection.register("arrow_rows", table)
            connection.execute(f"INSERT INTO {_quote(name)} SELECT * FROM arrow_rows")
            connection.unregister("arrow_rows")
    finally:
        connection.close()


def _write_sqlite(tables: Tables, path: Path, *, case_insensitive: bool) -> None:
    connection = sqlite3.connect(path)
    add_functions(connection, "sqlite")
    connection.execute("PRAGMA synchronous = OFF")
    shared = Counter(name.lower() for table in tables.values() for name in table.column_names)
    try:
        for name, table in tables.items():
            columns = [_sqlite_column(table, f, case_insensitive) for f in table.schema]
            connection.execute(f"CREATE TABLE {_quote(name)} ({', '.join(columns)})")
            marks = ", ".join("?" * len(columns))
            rows = zip(*(_sqlite_values(column) for column in table.columns), strict=True)
            connection.executemany(f"INSERT INTO {_quote(name)} VALUES ({marks})", rows)
            for column in table.column_names:
                if shared[column.lower()] > 1 or re.search(r"(?i)(^|_)id|id$", column):
                    index = _quote(f"ix_{name}_{column}")
                    connection.execute(f"CREATE INDEX {index} ON {_quote(name)} ({_quote(column)})")
        connection.execute("ANALYZE")
        connection.commit()
    finally:
        connection.close()


def _sqlite_column(table: pa.Table, field: pa.Field, case_insensitive: bool) -> str:
    """Column DDL. For ASCII-only values SQLite's NOCASE gives the same order and is 30x faster."""
    ddl = f"{_quote(field.name)} {_TYPES[field.type][0]}"
    if not case_insensitive or field.type != pa.string():
        return ddl
    is_ascii = all(v is None or v.isascii() for v in table.column(field.name).to_pylist())
    return f"{ddl} COLLATE {'NOCASE' if is_ascii else COLLATION}"


def _sqlite_values(column: pa.ChunkedArray) -> list[Any]:
    values = column.to_pylist()
    if pa.types.is_date(column.type):
        return [None if v is None else v.isoformat() for v in values]
    if pa.types.is_timestamp(column.type):
        return [None if v is None else _timestamp_text(v) for v in values]
    return values


def _timestamp_text(value: datetime.datetime) -> str:
    return value.isoformat(sep=" ")
