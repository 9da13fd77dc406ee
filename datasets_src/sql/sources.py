"""Reads the tables of a user's database as Arrow tables.

read_tables(Path("senderos.sql")) -> {"rutas": pa.Table, "especies": pa.Table, ...}

A source is an SQLite file, an SQL dump, a folder of Parquet or CSV files (one table per file, named
after it), or a Python script that defines `build_sqlite(path)`.
"""

import datetime
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet

from datasets_src.errors import UserError

Tables = dict[str, pa.Table]
KINDS = ".sqlite, .sqlite3, .db, .sql, .py or a folder of .parquet or .csv tables"
BUILD_TIMEOUT_S = 900
MAX_SCRIPT_FOLDER_GIB = 2.0
_RUN_SCRIPT = (
    "import runpy, sys; runpy.run_path(sys.argv[1], run_name='build')['build_sqlite'](sys.argv[2])"
)


def source_files(path: Path) -> list[Path]:
    """The sorted files whose bytes determine the tables; UserError if `path` is not a source."""
    if not path.exists():
        raise UserError(
            f"data.task_options.database: {path} does not exist; give a path to {KINDS}"
        )
    if path.is_dir():
        files = sorted(file for file in path.iterdir() if file.suffix in (".parquet", ".csv"))
        if not files:
            raise UserError(
                f"data.task_options.database: {path} holds no .parquet or .csv file; "
                "put one file for each table there"
            )
        return files
    if path.suffix == ".py":
        return _script_files(path)
    if path.suffix in (".sqlite", ".sqlite3", ".db", ".sql"):
        return [path]
    raise UserError(f"data.task_options.database: {path} has an unsupported suffix; give {KINDS}")


def _script_files(path: Path) -> list[Path]:
    """All files in the script's folder and below, since the script may read any of them."""
    files = [file for file in path.parent.rglob("*") if file.is_file()]
    files = sorted(file for file in files if "__pycache__" not in file.parts)
    size_gib = sum(file.stat().st_size for file in files) / 2**30
    if size_gib > MAX_SCRIPT_FOLDER_GIB:
        raise UserError(
            f"data.task_options.database: the folder of {path} holds {size_gib:.1f} GiB, limit "
            f"{MAX_SCRIPT_FOLDER_GIB:g}; it is copied to run the script, so give the script a "
            "folder of its own"
        )
    return files


def read_tables(path: Path) -> Tables:
    """All tables of a source that `source_files` accepted; UserError if it cannot be read."""
    try:
        if path.is_dir():
            tables = _read_folder(path)
        elif path.suffix == ".py":
            tables = _read_script(path)
        elif path.suffix == ".sql":
            tables = _read_dump(path)
        else:
            tables = _read_sqlite(path)
    except (sqlite3.Error, pa.ArrowException, UnicodeDecodeError) as error:
        raise UserError(
            f"data.task_options.database: {path} cannot be read ({error}); give an intact {KINDS}"
        ) from error
    if not tables:
        raise UserError(
            f"data.task_options.database: {path} has no table; give a database with at least one"
        )
    return tables


def _read_folder(path: Path) -> Tables:
    tables: Tables = {}
    for file in source_files(path):
        is_csv = file.suffix == ".csv"
        table = pyarrow.csv.read_csv(file) if is_csv else pyarrow.parquet.read_table(file)
        columns = {name: _plain(table.column(name)) for name in table.column_names}
        tables[file.name.split(".")[0]] = pa.table(columns)
    return tables


def _plain(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Cast to int64, float64, string, binary, date32 or timestamp: types that both engines have."""
    kind = column.type
    if pa.types.is_boolean(kind) or pa.types.is_integer(kind):
        return column.cast(pa.int64())
    if pa.types.is_decimal(kind) or pa.types.is_floating(kind):
        column = column.cast(pa.float64())
        return pc.if_else(pc.is_nan(column), pa.scalar(None, pa.float64()), column)
    if pa.types.is_date(kind):
        return column.cast(pa.date32())
    if pa.types.is_timestamp(kind):
        return column.cast(pa.timestamp("us"))
    if pa.types.is_binary(kind) or pa.types.is_large_binary(kind):
        return column.cast(pa.binary())
    if pa.types.is_nested(kind):
        texts = [None if value is None else str(value) for value in column.to_pylist()]
        return pa.chunked_array([pa.array(texts, pa.string())])
    return column.cast(pa.string())


def _read_script(path: Path) -> Tables:
    """Run the script's `build_sqlite(path)` in a copy of its folder, since it may write there."""
    with tempfile.TemporaryDirectory(prefix="gallipato-db-") as scratch:
        copy, built = Path(scratch) / "source", Path(scratch) / "built.sqlite"
        for file in _script_files(path):
            target = copy / file.relative_to(path.parent)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, target)
        command = [sys.executable, "-c", _RUN_SCRIPT, str(copy / path.name), str(built)]
        done = subprocess.run(
            command, cwd=copy, capture_output=True, text=True, timeout=BUILD_TIMEOUT_S
        )
        if done.returncode != 0 or not built.exists():
            reason = (done.stderr.strip().splitlines() or ["it wrote no database"])[-1]
            raise UserError(
                f"data.task_options.database: build_sqlite of {path} failed ({reason}); "
                "fix the script: it must write an SQLite file to the path it is given"
            )
        return _read_sqlite(built)


def _read_dump(path: Path) -> Tables:
    connection = sqlite3.connect(":memory:")
    try:
        connection.executescript(path.read_text(encoding="utf-8"))
        return _tables_of(connection)
    finally:
        connection.close()


def _read_sqlite(path: Path) -> Tables:
    connection = sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)
    try:
        return _tables_of(connection)
    finally:
        connection.close()


def _tables_of(connection: sqlite3.Connection) -> Tables:
    names = connection.execute(
        "SELECT name FROM sqlite_master WHERE type IN ('table', 'view') "
        "AND name NOT LIKE 'sqlite_%' ORDER BY rowid"
    ).fetchall()
    tables: Tables = {}
    for (name,) in names:
        quoted = '"' + name.replace('"', '""') + '"'
        declared = connection.execute(f"PRAGMA table_info({quoted})").fetchall()
        rows = connection.execute(f"SELECT * FROM {quoted}").fetchall()
        cells = zip(*rows, strict=True) if rows else [()] * len(declared)
        tables[name] = pa.table(
            {
                info[1]: _column(list(values), info[2])
                for info, values in zip(declared, cells, strict=True)
            }
        )
    return tables


def _column(values: list[Any], declared: str) -> pa.Array:
    """The narrowest Arrow type that holds all values; SQLite types each value on its own."""
    kinds = {type(value) for value in values if value is not None}
    if not kinds:
        return pa.array(values, _declared_type(declared.upper()))
    if kinds == {int}:
        return pa.array(values, pa.int64())
    if kinds <= {int, float}:
        return pa.array([None if v is None else float(v) for v in values], pa.float64())
    if kinds == {bytes}:
        return pa.array(values, pa.binary())
    if kinds == {str}:
        return _dates(values, declared.upper())
    return pa.array([None if v is None else str(v) for v in values], pa.string())


def _declared_type(declared: str) -> pa.DataType:
    """Type affinity of a column without values (sqlite.org/datatype3.html, 3.1)."""
    if "INT" in declared:
        return pa.int64()
    if any(name in declared for name in ("REAL", "FLOA", "DOUB", "NUMERIC", "DECIMAL")):
        return pa.float64()
    return pa.binary() if "BLOB" in declared else pa.string()


def _dates(values: list[str | None], declared: str) -> pa.Array:
    """Values of a column declared DATE or DATETIME, parsed if all of them parse, else as text."""
    if "DATE" not in declared and "TIMESTAMP" not in declared:
        return pa.array(values, pa.string())
    is_date = declared == "DATE"
    read = datetime.date.fromisoformat if is_date else datetime.datetime.fromisoformat
    try:
        parsed = [None if value is None else read(value) for value in values]
    except ValueError:
        return pa.array(values, pa.string())
    return pa.array(parsed, pa.date32() if is_date else pa.timestamp("us"))
