"""Raw rows of a jsonl, json, csv, parquet or xlsx file, one dict a row, streamed where it can be.

next(read_rows(Path("rows.csv"), key="data.train_file"))
{"Indice": "19", "Prompt": "¿Cuántas rutas hay?", "SQL": "SELECT COUNT(*) FROM rutas"}

Every fault is a UserError that names the config key, the file and, where there is one, the line.
"""

import csv
import datetime
import decimal
import difflib
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from datasets_src.errors import UserError

Row = dict[str, Any]
BOM = b"\xef\xbb\xbf"
DELIMITERS = (",", ";", "\t", "|")
PARQUET_BATCH = 1024


def read_rows(path: Path, *, key: str) -> Iterator[Row]:
    """Rows of `path` in the order of the file; `key` is the config key that named it.

    Raises:
        UserError: missing, empty, unreadable or broken file, or an unknown extension.
    """
    read = find_reader(path, key)
    check_file(path, key)
    empty = True
    for row in read(path, key):
        empty = False
        yield row
    if empty:
        raise UserError(f"{key}: {path}: holds no rows; give a file with at least one")


def find_reader(path: Path, key: str) -> Callable[[Path, str], Iterator[Row]]:
    """The reader of this extension."""
    if (reader := READERS.get(path.suffix.lower())) is None:
        raise UserError(
            f"{key}: {path}: unknown extension {path.suffix!r}; known: {', '.join(READERS)}"
        )
    return reader


def check_file(path: Path, key: str) -> None:
    """Refuse a file that is missing, a directory, unreadable or of 0 bytes."""
    if not path.exists():
        raise UserError(f"{key}: {path}: no such file; {_nearest(path)}")
    if not path.is_file():
        raise UserError(f"{key}: {path}: is a directory, not a file; name a file in it")
    try:
        with path.open("rb") as file:
            first = file.read(1)
    except OSError as error:
        raise UserError(
            f"{key}: {path}: cannot be read ({error.strerror}); chmod u+r {path}"
        ) from None
    if not first:
        raise UserError(f"{key}: {path}: is empty (0 bytes); give a file with rows")


def _nearest(path: Path) -> str:
    if not path.parent.is_dir():
        return f"nor is there a folder {path.parent}"
    names = sorted(p.name for p in path.parent.iterdir() if p.is_file())
    if near := difflib.get_close_matches(path.name, names, n=1, cutoff=0.5):
        return f"did you mean {path.parent / near[0]}?"
    listed = ", ".join(n for n in names if Path(n).suffix.lower() in READERS)
    return f"data files in {path.parent}: {listed or 'none'}"


def _lines(path: Path, key: str) -> Iterator[str]:
    offset = 0
    with path.open("rb") as file:
        for number, raw in enumerate(file, start=1):
            text = raw.removeprefix(BOM) if number == 1 else raw
            yield _decode(text, path, key, line=number, offset=offset + len(raw) - len(text))
            offset += len(raw)


def _decode(raw: bytes, path: Path, key: str, *, line: int, offset: int) -> str:
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError as error:
        line += raw.count(b"\n", 0, error.start)
        kind = "utf-16" if raw[:2] in (b"\xff\xfe", b"\xfe\xff") else "latin1"
        raise UserError(
            f"{key}: {path}:{line}: not UTF-8 (byte 0x{raw[error.start]:02x} at offset "
            f"{offset + error.start}); iconv -f {kind} -t utf-8 {path.name} > new{path.suffix}"
        ) from None


def _read_jsonl(path: Path, key: str) -> Iterator[Row]:
    for number, line in enumerate(_lines(path, key), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except json.JSONDecodeError as error:
            whole = (number == 1 and line.lstrip()[0] == "[") or line.strip() == "{"
            fix = "rename it to .json" if whole else "fix that line"
            raise UserError(
                f"{key}: {path}:{number}: not JSON ({error.msg}, column {error.colno}); {fix}"
            ) from None
        if not isinstance(row, dict):
            raise UserError(
                f"{key}: {path}:{number}: a {_kind(row)}, not an object; write"
                ' {"column": value, ...} on each line'
            )
        yield row


def _read_json(path: Path, key: str) -> Iterator[Row]:
    text = _decode(path.read_bytes().removeprefix(BOM), path, key, line=1, offset=0)
    try:
        value = json.loads(text)
    except json.JSONDecodeError as error:
        fix = "rename it to .jsonl" if error.msg == "Extra data" else "fix that line"
        raise UserError(
            f"{key}: {path}:{error.lineno}: not JSON ({error.msg}, column {error.colno}); {fix}"
        ) from None
    for number, row in enumerate(_json_list(value, path, key), start=1):
        if not isinstance(row, dict):
            raise UserError(
                f"{key}: {path}: item {number} is a {_kind(row)}, not an object; write"
                ' [{"column": value, ...}, ...]'
            )
        yield row


def _json_list(value: Any, path: Path, key: str) -> list[Any]:
    if isinstance(value, list):
        return value
    pairs = value.items() if isinstance(value, dict) else ()
    lists = {name: inner for name, inner in pairs if isinstance(inner, list)}
    if len(lists) != 1:
        found = f"lists under {', '.join(lists)}" if lists else f"a {_kind(value)} without a list"
        raise UserError(
            f"{key}: {path}: holds {found}; write a list of objects, or an object with one list"
        )
    return next(iter(lists.values()))


def _kind(value: Any) -> str:
    kinds = {dict: "object", list: "list", str: "string", bool: "boolean", type(None): "null"}
    return kinds.get(type(value), "number")


def _read_csv(path: Path, key: str) -> Iterator[Row]:
    # The default limit, 131,072 characters a cell, is less than a long document.
    csv.field_size_limit(sys.maxsize)
    first = next(_lines(path, key))
    delimiter = max(DELIMITERS, key=lambda d: len(next(csv.reader([first], delimiter=d), [])))
    reader = csv.reader(_lines(path, key), delimiter=delimiter, strict=True)
    try:
        header = _header([name.strip() for name in next(reader, [])], path, key)
        for cells in reader:
            if not cells:
                continue
            if len(cells) != len(header):
                raise UserError(
                    f"{key}: {path}:{reader.line_num}: {len(cells)} cells but {len(header)} columns"
                    f" (separator {delimiter!r}); quote cells that hold the separator"
                )
            yield dict(zip(header, cells, strict=True))
    except csv.Error as error:
        raise UserError(
            f"{key}: {path}:{reader.line_num}: not CSV ({error}); fix that line"
        ) from None


def _header(names: list[str], path: Path, key: str) -> list[str]:
    twice = sorted({name for name in names if names.count(name) > 1 or not name})
    if twice or not names:
        raise UserError(
            f"{key}: {path}: column names must be there once each; empty or repeated: "
            f"{', '.join(repr(name) for name in twice)}; mend the first row"
        )
    return names


def _read_parquet(path: Path, key: str) -> Iterator[Row]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path, memory_map=True) as file:
            for batch in file.iter_batches(batch_size=PARQUET_BATCH):
                for row in batch.to_pylist():
                    yield {name: _plain(value) for name, value in row.items()}
    except (pa.ArrowInvalid, OSError) as error:
        reason = str(error).split("\n")[0].rstrip(".")
        raise UserError(
            f"{key}: {path}: not a Parquet file, or cut short ({reason}); write it again"
        ) from None


def _read_xlsx(path: Path, key: str) -> Iterator[Row]:
    import python_calamine

    try:
        with python_calamine.CalamineWorkbook.from_path(str(path)) as book:
            sheet = book.sheet_names[0]
            rows = book.get_sheet_by_index(0).to_python()
    except (python_calamine.CalamineError, python_calamine.ZipError, OSError) as error:
        raise UserError(f"{key}: {path}: not an Excel file ({error}); save it again") from None
    if not rows:
        raise UserError(f"{key}: {path}: sheet {sheet!r}, the first, is empty; put the rows there")
    header = _header([str(cell).strip() for cell in rows[0]], path, key)
    for cells in rows[1:]:
        if any(cell != "" for cell in cells):
            yield {name: _plain(_whole(cell)) for name, cell in zip(header, cells, strict=True)}


def _whole(cell: Any) -> Any:
    # Excel holds every number as a double: 19 comes back as 19.0.
    return int(cell) if isinstance(cell, float) and cell.is_integer() else cell


def _plain(value: Any) -> Any:
    """A JSON value: dates as ISO text, decimals as numbers, NaN as null."""
    if isinstance(value, datetime.date | datetime.time):
        return value.isoformat()
    if isinstance(value, datetime.timedelta | bytes):
        return str(value)
    if isinstance(value, decimal.Decimal):
        return int(value) if value == value.to_integral_value() else float(value)
    if isinstance(value, float) and value != value:
        return None
    return value


READERS: dict[str, Callable[[Path, str], Iterator[Row]]] = {
    ".jsonl": _read_jsonl,
    ".ndjson": _read_jsonl,
    ".json": _read_json,
    ".csv": _read_csv,
    ".tsv": _read_csv,
    ".parquet": _read_parquet,
    ".xlsx": _read_xlsx,
}
