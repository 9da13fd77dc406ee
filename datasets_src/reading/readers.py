"""Read the rows of a jsonl, json, csv, parquet or xlsx file, one dict per row.

next(read_rows(Path("rows.csv"), key="data.train_file"))
{"Indice": "19", "Prompt": "¿Cuántas rutas hay?", "SQL": "SELECT COUNT(*) FROM rutas"}

jsonl, csv and parquet are streamed. For an Excel file with several sheets, append the sheet to the
path: rows.xlsx#Train.

A fault raises a UserError with the config key, the file and the line, if any. With `bad`
(bad_rows.py), a fault of a single row leaves out that row instead.
"""

import datetime
import decimal
import difflib
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from datasets_src.errors import UserError
from datasets_src.reading.bad_rows import BadRows, RowFault, refuse
from datasets_src.reading.csv_rows import check_header, read_csv
from datasets_src.reading.text_lines import BOM, decode, read_lines

Row = dict[str, Any]
Reader = Callable[[Path, str, BadRows | None], Iterator[Row]]
PARQUET_BATCH = 1024
EXCEL = ".xlsx"
RENAME = "rename it to .json"
NOT_JSON, NO_OBJECT = "not JSON", "not an object"


def read_rows(path: Path, *, key: str, bad: BadRows | None = None) -> Iterator[Row]:
    """Rows of `path` in file order.

    Args:
        path: the file; an Excel file may name a sheet (rows.xlsx#Train).
        key: the config key that named the file, for messages.
        bad: collects rows that cannot be read; if None, the first one raises.

    Raises:
        UserError: a missing, empty, unreadable or broken file, or an unknown extension.
    """
    read = find_reader(path, key)
    check_file(path, key)
    if bad:
        bad.begin(path, PLACES.get(path.suffix.lower(), "row"))
    empty = True
    for row in read(path, key, bad):
        empty = False
        yield row
    if empty and not (bad and bad.num_file_rows):
        raise UserError(f"{key}: {path}: no rows; give a file with at least one")


def find_reader(path: Path, key: str) -> Reader:
    """The reader for the extension of `path`; a UserError if it is unknown."""
    path, _ = split_sheet(path)
    if (reader := READERS.get(path.suffix.lower())) is None:
        raise UserError(
            f"{key}: {path}: unknown extension {path.suffix!r}; known: {', '.join(READERS)}"
        )
    return reader


def check_file(path: Path, key: str) -> None:
    """Raise a UserError if `path` is missing, a directory, unreadable or of 0 bytes."""
    path, _ = split_sheet(path)
    if not path.exists():
        raise UserError(f"{key}: {path}: no such file; {_nearest(path)}")
    if not path.is_file():
        raise UserError(f"{key}: {path}: is a directory; name a file in it")
    try:
        with path.open("rb") as file:
            first = file.read(1)
    except OSError as error:
        raise UserError(
            f"{key}: {path}: cannot be read ({error.strerror}); chmod u+r {path}"
        ) from None
    if not first:
        raise UserError(f"{key}: {path}: is empty (0 bytes); give a file with rows")


def split_sheet(path: Path) -> tuple[Path, str | None]:
    """Split rows.xlsx#Train into the file and the sheet; the sheet is None if not named."""
    name, found, sheet = path.name.partition(f"{EXCEL}#")
    return (path.with_name(name + EXCEL), sheet) if found else (path, None)


def _nearest(path: Path) -> str:
    if not path.parent.is_dir():
        return f"the directory {path.parent} does not exist either"
    names = sorted(p.name for p in path.parent.iterdir() if p.is_file())
    if near := difflib.get_close_matches(path.name, names, n=1, cutoff=0.5):
        return f"did you mean {path.parent / near[0]}?"
    listed = ", ".join(n for n in names if Path(n).suffix.lower() in READERS)
    return f"data files in {path.parent}: {listed or 'none'}"


def _read_jsonl(path: Path, key: str, bad: BadRows | None) -> Iterator[Row]:
    for number, line in enumerate(read_lines(path, key), start=1):
        if not line.strip():
            continue
        line = line.rstrip("\r\n")  # with it, an error at the end is reported as column 1
        row, fault = _parse_line(line, first=number == 1)
        if bad:
            bad.take(number, line if fault else row)
        if fault:
            # A first line that opens a multi-line JSON value is a fault of the whole file.
            whole = number == 1 and fault.remedy == RENAME
            refuse(fault, None if whole else bad, where=f"{key}: {path}:{number}")
            continue
        yield row


def _parse_line(line: str, *, first: bool) -> tuple[Row, RowFault | None]:
    try:
        row = json.loads(line)
        if "\\ud" in line or "\\uD" in line:
            json.dumps(row, ensure_ascii=False).encode()
    except json.JSONDecodeError as error:
        whole = (first and line.lstrip()[0] == "[") or line.strip() == "{"
        what = f"not JSON ({error.msg}, column {error.colno})"
        return {}, RowFault(NOT_JSON, what, RENAME if whole else "fix that line")
    except (ValueError, RecursionError) as error:
        # An integer of thousands of digits, deeply nested lists, a lone surrogate.
        return {}, RowFault(NOT_JSON, f"not JSON ({error})", "fix that line")
    if not isinstance(row, dict):
        remedy = 'write {"column": value, ...} on each line'
        return {}, RowFault(NO_OBJECT, f"a {_kind(row)}, not an object", remedy)
    return row, None


def _read_json(path: Path, key: str, bad: BadRows | None) -> Iterator[Row]:
    text = decode(path.read_bytes().removeprefix(BOM), path, key, line=1, offset=0)
    try:
        value = json.loads(text)
    except json.JSONDecodeError as error:
        fix = "rename it to .jsonl" if error.msg == "Extra data" else "fix that line"
        raise UserError(
            f"{key}: {path}:{error.lineno}: not JSON ({error.msg}, column {error.colno}); {fix}"
        ) from None
    for number, row in enumerate(_json_list(value, path, key), start=1):
        if bad:
            bad.take(number, row)
        if isinstance(row, dict):
            yield row
            continue
        remedy = 'write [{"column": value, ...}, ...]'
        fault = RowFault(NO_OBJECT, f"item {number} is a {_kind(row)}, not an object", remedy)
        refuse(fault, bad, where=f"{key}: {path}")


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


def _read_parquet(path: Path, key: str, bad: BadRows | None) -> Iterator[Row]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        number = 0
        with pq.ParquetFile(path, memory_map=True) as file:
            for batch in file.iter_batches(batch_size=PARQUET_BATCH):
                for values in batch.to_pylist():
                    number += 1
                    row = {name: _plain(value) for name, value in values.items()}
                    if bad:
                        bad.take(number, row)
                    yield row
    except (pa.ArrowInvalid, OSError) as error:
        reason = str(error).split("\n")[0].rstrip(".")
        raise UserError(
            f"{key}: {path}: not a Parquet file, or truncated ({reason}); write it again"
        ) from None


def _read_xlsx(path: Path, key: str, bad: BadRows | None) -> Iterator[Row]:
    import python_calamine

    file, sheet = split_sheet(path)
    try:
        with python_calamine.CalamineWorkbook.from_path(str(file)) as book:
            sheet = sheet or _only_sheet(book, path, key)
            if sheet not in book.sheet_names:
                known = ", ".join(map(repr, book.sheet_names))
                raise UserError(f"{key}: {path}: no sheet {sheet!r}; name one of {known}")
            cells_of = book.get_sheet_by_name(sheet)
            rows, top = cells_of.to_python(), (cells_of.start or (0, 0))[0]
    except (python_calamine.CalamineError, python_calamine.ZipError, OSError) as error:
        raise UserError(f"{key}: {file}: not an Excel file ({error}); save it again") from None
    if not rows:
        raise UserError(f"{key}: {path}: sheet {sheet!r} is empty; name a sheet with rows")
    header = check_header([str(cell).strip() for cell in rows[0]], path, key)
    for number, cells in enumerate(rows[1:], start=top + 2):  # the row number that the sheet shows
        if any(cell != "" for cell in cells):
            row = {name: _plain(_whole(cell)) for name, cell in zip(header, cells, strict=True)}
            if bad:
                bad.take(number, row)
            yield row


def _only_sheet(book: Any, path: Path, key: str) -> str:
    """The only sheet with cells, or the first if none has any; a UserError if several have."""
    names: list[str] = book.sheet_names
    # `start` is the first cell; an empty sheet has none.
    filled = [name for name in names if book.get_sheet_by_name(name).start is not None]
    if len(filled) > 1:
        raise UserError(
            f"{key}: {path}: {len(filled)} sheets have rows"
            f" ({', '.join(map(repr, filled))}); name the one to read: {path}#{filled[0]}"
        )
    return (filled or names)[0]


def _whole(cell: Any) -> Any:
    # Excel stores every number as a double: 19 is read as 19.0.
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


# Unit of a location in a file of this extension; otherwise "row".
PLACES = {".jsonl": "line", ".ndjson": "line", ".csv": "line", ".tsv": "line", ".json": "item"}
READERS: dict[str, Reader] = {
    ".jsonl": _read_jsonl,
    ".ndjson": _read_jsonl,
    ".json": _read_json,
    ".csv": read_csv,
    ".tsv": read_csv,
    ".parquet": _read_parquet,
    EXCEL: _read_xlsx,
}
