"""Rows that cannot be used: each is written down with its place and reason, and left out.

{"file": "rows.jsonl", "line": 17, "reason": "not JSON (Expecting value, column 14)", "row": "{…"}

The place is a `line` of jsonl and csv, an `item` of json, a `row_number` of parquet and xlsx (there
the number that the sheet shows). `row` is what could be read: the text of a line, or its values.
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
# Prefix of the reasons of bad rows; their examples are places, as they may have no id.
BAD = "bad: "
SHOWN = 3  # in a message
EXAMPLES = 10  # of each kind, in data.json
MAX_MEMORY = 2**20
MAX_REASON = 120  # characters of a reason in a message; the file has all of it


@dataclass(frozen=True)
class RowFault:
    """What is wrong with a row: `kind` is what it counts under, `what` its words for this row."""

    kind: str
    what: str
    remedy: str


class BadRows:
    """Where the reading of the files stands, and the bad rows so far.

    A reader calls `begin` for its file and `take` for each row before it gives it, so that who
    takes the rows one at a time can `add` the last one. Few stay in memory, many in a nameless file
    that is gone with the process; `save` gives them a name.
    """

    def __init__(self) -> None:
        self.num_rows = 0  # read so far, good and bad, over all files
        self.num_bad = 0
        self.num_file_rows = 0
        self.first: list[str] = []
        self._kinds: dict[str, list[str]] = {}
        self._counts: dict[str, int] = {}
        self._file, self._word = Path(), ""
        self.number = 0  # the place of the last row in its file
        self._row: Any = None
        self._lines = SpooledTemporaryFile(max_size=MAX_MEMORY)  # noqa: SIM115, open until `save`

    def begin(self, file: Path, word: str) -> None:
        """The rows from here on are of `file`, placed by "line", "item" or "row"."""
        self._file, self._word = file, word
        self.num_file_rows = 0

    def take(self, number: int, row: Any) -> None:
        """The reading stands at the row at `number`, of which `row` could be read."""
        self.number, self._row = number, row
        self.num_rows += 1
        self.num_file_rows += 1

    def place(self, number: int) -> str:
        """A place in the file that is read: rows.jsonl:17, or rows.xlsx: row 17."""
        colon = ":" if self._word == "line" else f": {self._word} "
        return f"{self._file.name}{colon}{number}"

    def add(self, kind: str, reason: str, *, id: str = "") -> None:
        """The last row is bad."""
        place = self.place(self.number)
        self.num_bad += 1
        self._counts[kind] = self._counts.get(kind, 0) + 1
        if len(examples := self._kinds.setdefault(kind, [])) < EXAMPLES:
            examples.append(place)
        if len(self.first) < SHOWN:
            self.first.append(f"{place} {shorten(reason, MAX_REASON)}")
        self._write(reason, id)

    def save(self, path: Path) -> None:
        """Write the bad rows to `path`; no file where there are none."""
        if self.num_bad:
            self._lines.seek(0)
            with path.open("wb") as file:
                shutil.copyfileobj(self._lines, file)

    def counts(self) -> list[dict[str, Any]]:
        """Rows of each kind, the most frequent first, in the form of data.json's `dropped`."""
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
            "row_number" if self._word == "row" else self._word: self.number,
            **({"id": id} if id else {}),
            "reason": reason,
            "row": self._row,
        }
        line = json.dumps(record, ensure_ascii=False, default=str) + "\n"
        # A lone half of a surrogate pair becomes the \udxxx that JSON reads.
        self._lines.write(line.encode("utf-8", "backslashreplace"))


def refuse(fault: RowFault, bad: BadRows | None, *, where: str, id: str = "") -> None:
    """Leave the last row out; a UserError where none may be left out (`bad` is None)."""
    if bad is None:
        raise UserError(f"{where}: {fault.what}; {fault.remedy}")
    bad.add(fault.kind, fault.what, id=id)


def record_of(bad: BadRows | None) -> dict[str, Any]:
    """The key `bad_rows` of data.json."""
    return {"num_rows": bad.num_bad if bad else 0, "first": bad.first if bad else []}


def check_limit(bad: BadRows, *, limit: float, kept: Path | None = None) -> None:
    """Refuse more bad rows than the share `limit` of those read; then they are saved as `kept`."""
    if fault := _limit_fault(record_of(bad), bad.num_rows, limit=limit, listed=kept):
        if kept:
            bad.save(kept)
        raise UserError(fault)


def check_prepared(directory: Path, *, limit: float) -> None:
    """Refuse a prepared directory of which more rows were bad than the share `limit`."""
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
    share = -(-10_000 * num_bad // num_rows) / 10_000  # rounded up, so that it is enough
    remedy = f", or set data.max_bad_rows={share:g} to leave them out" if share < 1 else ""
    told = f" (all in {listed})" if listed else ""
    return (
        f"data.max_bad_rows: {num_bad:,} of {num_rows:,} rows are bad, more than the"
        f" {100 * limit:g} % allowed: {format_first(record)}; fix them{told}{remedy}"
    )


def format_first(record: Mapping[str, Any]) -> str:
    """The first bad rows, with place and reason."""
    return ", ".join(record["first"]) + (", …" if record["num_rows"] > len(record["first"]) else "")


def format_bad_rows(report: Mapping[str, Any], directory: Path) -> str:
    """A line for a terminal on the bad rows of a prepared directory; "" where it has none."""
    record = report.get("bad_rows", {"num_rows": 0})
    if not record["num_rows"]:
        return ""
    return (
        f"{record['num_rows']:,} of {report['num_rows_in']:,} rows are bad and were left out"
        f" ({directory / FILE_NAME}): {format_first(record)}"
    )


def shorten(text: str, limit: int = 70) -> str:
    """The text on one line of `limit` characters at the most."""
    line = " ".join(text.split())
    return line if len(line) <= limit else line[: limit - 1] + "…"
