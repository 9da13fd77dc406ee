"""Bad rows: rows that cannot be used are left out and listed with their location and reason.

{"file": "rows.jsonl", "line": 17, "reason": "not JSON (Expecting value, column 14)", "row": "{…"}

The location is a `line` of jsonl and csv, an `item` of json, a `row_number` of parquet and xlsx
(for xlsx the number that the sheet shows). `row` is what could be read: the text of the line, or
the values.
"""

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import SpooledTemporaryFile
from typing import Any

from datasets_src.errors import UserError

FILE_NAME = "bad_rows.jsonl"
# Prefix of the reasons of bad rows; their examples are locations, as a bad row may have no id.
BAD = "bad: "
SHOWN = 3  # in a message
EXAMPLES = 10  # of each kind, in data.json
MAX_MEMORY = 2**20  # bytes of records before they are spooled to disk
MAX_REASON = 120  # characters of a reason in a message; the file has the full text


@dataclass(frozen=True)
class RowFault:
    """Why a row cannot be used: `kind` groups faults for counting, `what` describes this one."""

    kind: str
    what: str
    remedy: str


class BadRows:
    """The current position in the files, and the bad rows found so far.

    A reader calls `begin` for its file and `take` before it yields each row, so a consumer that
    takes rows one at a time can `add` the current one. Records above MAX_MEMORY are spooled to an
    unnamed temporary file, which disappears with the process; `save` writes them to a named one.
    """

    def __init__(self) -> None:
        self.num_rows = 0  # read so far, good and bad, over all files
        self.num_bad = 0
        self.num_file_rows = 0
        self.first: list[str] = []
        self._kinds: dict[str, list[str]] = {}
        self._counts: dict[str, int] = {}
        self._file, self._unit = Path(), ""
        self.number = 0  # location of the current row in its file
        self._row: Any = None
        self._lines = SpooledTemporaryFile(max_size=MAX_MEMORY)  # noqa: SIM115, open until `save`

    def begin(self, file: Path, unit: str) -> None:
        """Start a file whose rows are located by `unit`: "line", "item" or "row"."""
        self._file, self._unit = file, unit
        self.num_file_rows = 0

    def take(self, number: int, row: Any) -> None:
        """Make the row at `number` the current one; `row` is what could be read of it."""
        self.number, self._row = number, row
        self.num_rows += 1
        self.num_file_rows += 1

    def place(self, number: int) -> str:
        """A location in the current file: rows.jsonl:17, or rows.xlsx: row 17."""
        separator = ":" if self._unit == "line" else f": {self._unit} "
        return f"{self._file.name}{separator}{number}"

    def add(self, kind: str, reason: str, *, id: str = "") -> None:
        """Record the current row as bad."""
        place = self.place(self.number)
        self.num_bad += 1
        self._counts[kind] = self._counts.get(kind, 0) + 1
        if len(examples := self._kinds.setdefault(kind, [])) < EXAMPLES:
            examples.append(place)
        if len(self.first) < SHOWN:
            self.first.append(f"{place} {shorten(reason, MAX_REASON)}")
        self._write(reason, id)

    def save(self, path: Path) -> None:
        """Write the bad rows to `path`; without any, no file is written."""
        if self.num_bad:
            self._lines.seek(0)
            with path.open("wb") as file:
                shutil.copyfileobj(self._lines, file)

    def counts(self) -> list[dict[str, Any]]:
        """Number of rows of each kind, most frequent first, as in `dropped` of data.json."""
        kinds = sorted(self._kinds, key=lambda kind: -self._counts[kind])
        return [
            {
                "reason": f"{BAD}{kind}",
                "num_rows": self._counts[kind],
                "examples": self._kinds[kind],
            }
            for kind in kinds
        ]

    def _write(self, reason: str, id: str) -> None:
        record = {
            "file": str(self._file),
            "row_number" if self._unit == "row" else self._unit: self.number,
            **({"id": id} if id else {}),
            "reason": reason,
            "row": self._row,
        }
        line = json.dumps(record, ensure_ascii=False, default=str) + "\n"
        # A lone surrogate becomes the escape \udxxx, which is valid JSON.
        self._lines.write(line.encode("utf-8", "backslashreplace"))


def refuse(fault: RowFault, bad: BadRows | None, *, where: str, id: str = "") -> None:
    """Record the current row as bad; if `bad` is None, raise a UserError instead."""
    if bad is None:
        raise UserError(f"{where}: {fault.what}; {fault.remedy}")
    bad.add(fault.kind, fault.what, id=id)


def record_of(bad: BadRows | None) -> dict[str, Any]:
    """The value of `bad_rows` in data.json."""
    return {"num_rows": bad.num_bad if bad else 0, "first": bad.first if bad else []}


def check_limit(bad: BadRows, *, limit: float, kept: Path | None = None) -> None:
    """Raise a UserError, and save the bad rows as `kept`, if their share exceeds `limit`."""
    if fault := _limit_fault(record_of(bad), bad.num_rows, limit=limit, listed=kept):
        if kept:
            bad.save(kept)
        raise UserError(fault)


def check_prepared(directory: Path, *, limit: float) -> None:
    """Raise a UserError if the share of bad rows of a prepared directory exceeds `limit`."""
    report = json.loads((directory / "data.json").read_text(encoding="utf-8"))
    record, listed = report.get("bad_rows", record_of(None)), directory / FILE_NAME
    if fault := _limit_fault(record, report["num_rows_in"], limit=limit, listed=listed):
        raise UserError(fault)


def _limit_fault(
    record: Mapping[str, Any], num_rows: int, *, limit: float, listed: Path | None
) -> str:
    num_bad = record["num_rows"]
    if not num_bad or num_bad / num_rows <= limit:
        return ""
    share = -(-10_000 * num_bad // num_rows) / 10_000  # rounded up, so that it suffices
    remedy = f", or set data.max_bad_rows={share:g} to leave them out" if share < 1 else ""
    where = f" (full list: {listed})" if listed else ""
    return (
        f"data.max_bad_rows: {num_bad:,} of {num_rows:,} rows are bad, limit {100 * limit:g} %:"
        f" {format_first(record)}; fix them{where}{remedy}"
    )


def format_first(record: Mapping[str, Any]) -> str:
    """The first bad rows, with location and reason."""
    return ", ".join(record["first"]) + (", …" if record["num_rows"] > len(record["first"]) else "")


def format_bad_rows(report: Mapping[str, Any], directory: Path) -> str:
    """A line for the terminal on the bad rows of a prepared directory; "" without any."""
    record = report.get("bad_rows", {"num_rows": 0})
    if not record["num_rows"]:
        return ""
    return (
        f"{record['num_rows']:,} of {report['num_rows_in']:,} rows are bad and left out"
        f" (full list: {directory / FILE_NAME}): {format_first(record)}"
    )


def shorten(text: str, limit: int = 70) -> str:
    """The text on one line of at most `limit` characters."""
    line = " ".join(text.split())
    return line if len(line) <= limit else line[: limit - 1] + "…"
