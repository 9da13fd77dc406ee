"""Bad rows: every reader leaves them out and lists them with exact location and reason."""

import json
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import openpyxl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from datasets_src.config import DataConfig, Section
from datasets_src.errors import UserError
from datasets_src.examples import TaskRows, load_examples, load_rows
from datasets_src.reading.bad_rows import BadRows, check_limit
from datasets_src.reading.columns import MAX_UNLIKE, map_rows
from datasets_src.reading.readers import read_rows
from datasets_src.task import Task
from datasets_src.types import Example

KEY = "data.train_file"
FIELDS = {"question": "what is asked", "sql": "the answer"}
Record = dict[str, Any]


def read(path: Path, content: str = "") -> tuple[list[Record], list[Record]]:
    """The mapped rows of a file, and the records of its bad rows."""
    if content:
        path.write_text(content, encoding="utf-8")
    bad = BadRows()
    rows = read_rows(path, key=KEY, bad=bad)
    kept = list(map_rows(rows, {}, fields=FIELDS, path=path, key=KEY, bad=bad))
    return kept, saved(bad, path.parent)


def saved(bad: BadRows, folder: Path) -> list[Record]:
    listed = folder / "bad_rows.jsonl"
    listed.unlink(missing_ok=True)
    bad.save(listed)
    return (
        [json.loads(line) for line in listed.read_text("utf-8").splitlines()] if bad.first else []
    )


def lines(*rows: Any) -> str:
    return "".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows)


def good(number: int, **more: Any) -> Record:
    return {"question": f"¿{number}?", "sql": f"SELECT {number}", **more}


def test_jsonl_names_the_line(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    rows = (good(1), "", '{"question": ', "[1]", '{"sql": "\\ud83d"}', "9" * 5000, "{", good(2))
    kept, bad = read(path, lines(*rows))
    assert [(row["id"], row["sql"]) for row in kept] == [("1", "SELECT 1"), ("7", "SELECT 2")]
    assert {(record["file"], record.get("id")) for record in bad} == {(str(path), None)}
    assert [(record["line"], record["row"]) for record in bad] == [
        (3, '{"question": '),
        (4, "[1]"),
        (5, '{"sql": "\\ud83d"}'),
        (6, "9" * 5000),
        (7, "{"),
    ]
    assert bad[0]["reason"] == "not JSON (Expecting value, column 14)"
    assert bad[1]["reason"] == "a list, not an object"
    assert "surrogates not allowed" in bad[2]["reason"]
    assert "4300 digits" in bad[3]["reason"]


def test_json_names_the_item(tmp_path: Path) -> None:
    kept, bad = read(tmp_path / "rows.json", json.dumps([good(1), 7, good(2), None]))
    assert [row["id"] for row in kept] == ["1", "3"]
    assert [(r["item"], r["reason"], r["row"]) for r in bad] == [
        (2, "item 2 is a number, not an object", 7),
        (4, "item 4 is a null, not an object", None),
    ]


def test_csv_reports_the_line_on_which_the_row_starts(tmp_path: Path) -> None:
    text = 'question,sql\n1,a\n2,b,c\n\n"3\n3",c\n4\n5,"e"x\n6,f\n'
    kept, bad = read(tmp_path / "rows.csv", text)
    assert [(row["id"], row["question"]) for row in kept] == [("1", "1"), ("3", "3\n3"), ("6", "6")]
    assert [(r["line"], r["row"]) for r in bad] == [(3, "2,b,c"), (7, "4"), (8, '5,"e"x')]
    assert bad[0]["reason"] == "3 cells but 2 columns (separator ',')"
    assert bad[1]["reason"] == "1 cells but 2 columns (separator ',')"
    assert bad[2]["reason"].startswith("not CSV (',' expected after '\"')")


def test_an_unclosed_quote_loses_no_row_uncounted(tmp_path: Path) -> None:
    """Each line that it swallows is one bad row, up to the next quote or the end of the file."""
    kept, bad = read(tmp_path / "rows.csv", 'question,sql\n1,"a\n2,b\n3,"c"\n4,d\n5,"e\n6,f\n')
    assert [row["question"] for row in kept] == ["4"]
    assert [(r["line"], r["row"]) for r in bad] == [
        *((2, '1,"a'), (3, "2,b"), (4, '3,"c"')),
        *((6, '5,"e'), (7, "6,f")),
    ]
    assert all(r["reason"].endswith("in a row that spans lines 2 to 4") for r in bad[:3])
    assert "unexpected end of data" in bad[4]["reason"]


def test_parquet_and_xlsx_name_the_row(tmp_path: Path) -> None:
    rows = [good(1), {**good(2), "sql": None}, good(3)]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "rows.parquet")
    kept, bad = read(tmp_path / "rows.parquet")
    assert [row["id"] for row in kept] == ["1", "3"]
    assert [(r["row_number"], r["id"], r["row"]) for r in bad] == [(2, "2", rows[1])]
    book = openpyxl.Workbook()
    sheet = book.active
    for column, name in enumerate(rows[0], start=1):
        sheet.cell(3, column, name)  # the header is in row 3, row 5 is blank
    for at, row in ((4, rows[0]), (6, rows[2]), (7, rows[0])):
        for column, value in enumerate(row.values(), start=1):
            sheet.cell(at, column, value)
    sheet.cell(3, 3, "id")
    for at in (4, 6, 7):
        sheet.cell(at, 3, min(at, 6))
    book.save(tmp_path / "rows.xlsx")
    kept, bad = read(tmp_path / "rows.xlsx")
    assert [row["id"] for row in kept] == ["4", "6"]
    assert [(r["row_number"], r["id"]) for r in bad] == [(7, "6")]
    assert bad[0]["reason"] == "duplicate id '6': already used by rows.xlsx: row 6"
    assert bad[0]["row"] == {**good(1), "id": 6}


def test_values_that_are_missing_repeated_or_unknown(tmp_path: Path) -> None:
    rows = [
        good(1, id="a", split="train"),
        good(2, id="b", split="holdout"),
        good(3, id="a", split="train"),
        {"id": "c", "question": None, "split": "train"},
        good(5, id="b", split="Validación"),
    ]
    kept, bad = read(tmp_path / "rows.jsonl", lines(*rows))
    assert [(row["id"], row["split"]) for row in kept] == [("a", "train"), ("b", "validation")]
    assert [(r["line"], r["id"], r["row"]) for r in bad] == [
        (2, "b", rows[1]),
        (3, "a", rows[2]),
        (4, "c", rows[3]),
    ]
    assert [r["reason"] for r in bad] == [
        "'holdout' in column 'split' is not a known split",
        "duplicate id 'a': already used by rows.jsonl:1",
        "no value in column 'question' (field 'question'), 'sql' (field 'sql')",
    ]


def test_first_rows_of_other_columns(tmp_path: Path) -> None:
    kept, bad = read(tmp_path / "rows.jsonl", lines({"error": "x", "id": 9}, good(1)))
    assert [row["id"] for row in kept] == ["2"]
    assert [(r["line"], r["id"]) for r in bad] == [(1, "9")]
    assert bad[0]["reason"] == "no column 'question' for the field 'question' (what is asked)"
    for rows in (
        [{"Prompt": "a"}],
        [{"Prompt": "a"}] * 9,
        [{"Prompt": "a"}] * MAX_UNLIKE + [good(1)],
    ):
        with pytest.raises(UserError, match=r"no column 'question'.*present: Prompt; add data"):
            read(tmp_path / "rows.jsonl", lines(*rows))


def test_faults_of_a_file_stay_errors(tmp_path: Path) -> None:
    for name, content, message in (
        ("a.jsonl", '[\n{"question": "a"}]', "a.jsonl:1: not JSON .*; rename it to .json"),
        ("b.json", '[{"a" 1}]', "b.json:1: not JSON"),
        ("c.csv", 'question,"sql\n1,2', "c.csv:2: not CSV"),
        (
            "d.csv",
            "question,question\n1,2\n",
            "d.csv: column names must be unique and not empty, found 'question'",
        ),
        ("e.jsonl", "\n", "no rows; give"),
        ("f.txt", "x", "unknown extension"),
    ):
        with pytest.raises(UserError, match=message):
            read(tmp_path / name, content)
    (tmp_path / "g.jsonl").write_bytes(lines(good(1)).encode() + '{"año": 1}'.encode("latin1"))
    with pytest.raises(UserError, match=r"g.jsonl:2: not UTF-8 .*iconv -f latin1"):
        read(tmp_path / "g.jsonl")


class Options(Section):
    """None."""


def task_of(load: Any) -> Task:
    return cast(Task, SimpleNamespace(load=load, FIELDS=FIELDS, Options=Options))


def choosy(rows: Iterator[Record], options: Section) -> Iterator[Example]:
    """Rejects text that is not a number, skips zeros, and makes two examples of any other row."""
    for row in rows:
        value = int(row["sql"])
        if value:
            yield Example(row["id"], row["group"], {}, str(value))
            yield Example(f"{row['id']}-b", row["group"], {}, str(value))


def test_rows_that_the_task_rejects(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text(lines(*({"question": "q", "sql": s} for s in ("1", "x", "0", "y", "", "2"))))
    data = DataConfig.model_validate({"train_file": str(path)})
    bad = BadRows()
    loaded = load_examples(
        data,
        task_of(choosy),
        keep_block=lambda table: table["id"].to_pylist(),
        bad=bad,
        is_empty=lambda example: example.id == "1-b",
    )
    assert [id for block in loaded.blocks for id in block] == ["1", "6", "6-b"]
    assert loaded.left_out == ["3"] and loaded.files[0]["num_rows"] == bad.num_rows == 6
    records = saved(bad, tmp_path)
    assert [(r["line"], r["id"]) for r in records] == [(1, "1-b"), (2, "2"), (4, "4"), (5, "5")]
    assert records[0]["reason"].startswith("the target is empty")
    assert records[1]["reason"] == "invalid literal for int() with base 10: 'x'"
    assert records[1]["row"] == {"question": "q", "sql": "x"}  # as in the file
    assert bad.counts() == [
        {
            "reason": "bad: rejected by the task",
            "num_rows": 3,
            "examples": [f"rows.jsonl:{line}" for line in (2, 4, 5)],
        },
        {"reason": "bad: empty target", "num_rows": 1, "examples": ["rows.jsonl:1"]},
    ]
    with pytest.raises(ValueError, match="invalid literal"):
        load_examples(data, task_of(choosy), keep_block=len)


def test_an_exception_without_a_pending_row_is_not_a_bad_row() -> None:
    def at_once(rows: Iterator[Record], options: Section) -> Iterator[Example]:
        raise UserError("data.task_options.database: gone")

    def at_the_end(rows: Iterator[Record], options: Section) -> Iterator[Example]:
        yield from (Example(row["id"], row["id"], {}, "") for row in rows)
        raise UserError("too few rows")

    def behind_its_example(rows: Iterator[Record], options: Section) -> Iterator[Example]:
        for row in rows:
            yield Example(row["id"], row["id"], {}, "")
            raise UserError("half a row")

    for load in (at_once, at_the_end, behind_its_example):
        bad = BadRows()
        rows = TaskRows(iter([{"id": "1"}, {"id": "2"}]))
        with pytest.raises(UserError):
            list(load_rows(task_of(load), rows, Options(), bad=bad))
        assert bad.num_bad == 0


def test_the_limit_is_a_share_of_the_rows_read(tmp_path: Path) -> None:
    bad = BadRows()
    bad.begin(tmp_path / "rows.jsonl", "line")
    for line in range(1, 101):
        bad.take(line, {})
        if line <= 29:
            bad.add("not JSON", f"reason {line} " + "x" * 200)
    check_limit(bad, limit=0.29)
    with pytest.raises(UserError) as caught:
        check_limit(bad, limit=0.28, kept=tmp_path / "kept.jsonl")
    message = str(caught.value)
    assert message.startswith(
        "data.max_bad_rows: 29 of 100 rows are bad, limit 28 %: rows.jsonl:1 "
    )
    assert "rows.jsonl:3 reason 3 x" in message and "rows.jsonl:4" not in message
    assert len(message) < 700
    assert f"(full list: {tmp_path}/kept.jsonl), or set data.max_bad_rows=0.29 to" in message
    assert len((tmp_path / "kept.jsonl").read_text().splitlines()) == 29
    for line in range(101, 103):
        bad.take(line, {})
    with pytest.raises(UserError, match=r"29 of 102 .* or set data.max_bad_rows=0.2844 to"):
        check_limit(bad, limit=0.28)
    check_limit(bad, limit=0.2844)
