"""Read a csv or tsv file; the separator is detected from the first line.

next(read_csv(Path("rows.csv"), "data.train_file", None))     # Indice;Prompt⏎19;"¿Cuántas?"
{"Indice": "19", "Prompt": "¿Cuántas?"}
"""

import csv
import sys
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from datasets_src.errors import UserError
from datasets_src.reading.bad_rows import BadRows, RowFault, refuse
from datasets_src.reading.text_lines import read_lines

DELIMITERS = (",", ";", "\t", "|")
NOT_CSV, WRONG_CELLS = "not CSV", "wrong number of cells"


def read_csv(path: Path, key: str, bad: BadRows | None) -> Iterator[dict[str, Any]]:
    """Rows as column name -> text, with the column names from the first line.

    An unclosed quote swallows the lines after it. Every line of a broken row counts as a bad row,
    so no good row is lost uncounted.

    Raises:
        UserError: a fault in the first line, or a broken row if `bad` is None.
    """
    # The default limit of 131,072 characters per cell is too small for a long document.
    csv.field_size_limit(sys.maxsize)
    first = next(read_lines(path, key))
    delimiter = max(DELIMITERS, key=lambda d: len(next(csv.reader([first], delimiter=d), [])))
    lines = _Lines(read_lines(path, key))
    reader = csv.reader(lines, delimiter=delimiter, strict=True)
    try:
        header = check_header([name.strip() for name in next(reader, [])], path, key)
    except csv.Error as error:
        fault = _not_csv(error)
        raise UserError(f"{key}: {path}:{reader.line_num}: {fault.what}; {fault.remedy}") from None
    for cells, broken in _records(reader, lines, width=len(header), delimiter=delimiter):
        start = reader.line_num - len(lines.taken) + 1
        if broken:
            _refuse_lines(broken, lines.taken, bad, start=start, where=f"{key}: {path}")
            continue
        row = dict(zip(header, cells, strict=True))
        if bad:
            bad.take(start, row)
        yield row


def check_header(names: list[str], path: Path, key: str) -> list[str]:
    """The column names, checked: a UserError if one is empty or repeated."""
    twice = sorted({name for name in names if names.count(name) > 1 or not name})
    if twice or not names:
        raise UserError(
            f"{key}: {path}: column names must be unique and not empty, found "
            f"{', '.join(repr(name) for name in twice)}; fix the first row"
        )
    return names


class _Lines:
    """Feeds lines to a csv.reader and records those `taken` for the current row."""

    def __init__(self, lines: Iterable[str]) -> None:
        self._lines = iter(lines)
        self.taken: list[str] = []

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        line = next(self._lines)
        self.taken.append(line)
        return line


def _records(
    reader: Any, lines: _Lines, *, width: int, delimiter: str
) -> Iterator[tuple[list[str], RowFault | None]]:
    """The cells of each row, or its fault; a csv.reader continues after a fault."""
    while True:
        lines.taken.clear()
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            yield [], _not_csv(error)
            continue
        if cells and len(cells) != width:
            what = f"{len(cells)} cells but {width} columns (separator {delimiter!r})"
            yield [], RowFault(WRONG_CELLS, what, "quote cells that hold the separator")
        elif cells:
            yield cells, None


def _not_csv(error: csv.Error) -> RowFault:
    return RowFault(NOT_CSV, f"not CSV ({error})", "fix that line")


def _refuse_lines(
    fault: RowFault, lines: list[str], bad: BadRows | None, *, start: int, where: str
) -> None:
    end = start + len(lines) - 1
    if bad is None:
        return refuse(fault, None, where=f"{where}:{end}")
    if end > start:
        fault = replace(fault, what=f"{fault.what}, in a row that spans lines {start} to {end}")
    for number, line in enumerate(lines, start=start):
        if line.strip():
            bad.take(number, line.rstrip("\r\n"))
            bad.add(fault.kind, fault.what)
