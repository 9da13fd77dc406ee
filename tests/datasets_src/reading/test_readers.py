"""Readers: the rows of each kind of file, and a one-line error for every fault."""

import json
import os
from pathlib import Path

import openpyxl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from datasets_src.errors import UserError
from datasets_src.reading.readers import read_rows

KEY = "data.train_file"
ROWS = [
    {"Indice": 19, "Prompt": "¿Cuántas; rutas, hay?", "SQL": "SELECT COUNT(*)\nFROM rutas"},
    {"Indice": 23, "Prompt": 'Di "hola"', "SQL": "SELECT 'ñ'"},
]


def fault(path: Path) -> str:
    """The message that reading all of `path` ends with."""
    with pytest.raises(UserError) as caught:
        list(read_rows(path, key=KEY))
    assert len(caught.value.faults) == 1
    assert caught.value.faults[0].startswith(f"{KEY}: {path}")
    return caught.value.faults[0]


def write(path: Path, content: str | bytes) -> Path:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def test_jsonl_skips_blank_lines_and_a_byte_order_mark(tmp_path: Path) -> None:
    text = "\n\n".join(json.dumps(row, ensure_ascii=False) for row in ROWS)
    path = write(tmp_path / "rows.jsonl", b"\xef\xbb\xbf" + text.encode())
    assert list(read_rows(path, key=KEY)) == ROWS


@pytest.mark.parametrize("value", [ROWS, {"version": 2, "queries": ROWS}])
def test_json_is_a_list_or_an_object_with_one_list(tmp_path: Path, value: object) -> None:
    path = write(tmp_path / "rows.json", json.dumps(value, indent=2))
    assert list(read_rows(path, key=KEY)) == ROWS


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_csv_finds_its_delimiter(tmp_path: Path, delimiter: str) -> None:
    cells = [["Indice", "Prompt", "SQL"], *([str(v) for v in row.values()] for row in ROWS)]
    quoted = [['"' + cell.replace('"', '""') + '"' for cell in line] for line in cells]
    path = write(tmp_path / "rows.csv", "\r\n".join(delimiter.join(line) for line in quoted))
    assert list(read_rows(path, key=KEY)) == [{**row, "Indice": str(row["Indice"])} for row in ROWS]


def test_csv_cells_may_be_longer_than_a_document(tmp_path: Path) -> None:
    path = write(tmp_path / "rows.csv", "a,b\n" + "x" * 300_000 + ",2\n")
    assert len(next(read_rows(path, key=KEY))["a"]) == 300_000


def test_parquet_and_xlsx_give_json_values(tmp_path: Path) -> None:
    parquet, xlsx = tmp_path / "rows.parquet", tmp_path / "rows.xlsx"
    pq.write_table(pa.Table.from_pylist([*ROWS, {"Indice": None}]), parquet)
    book = openpyxl.Workbook()
    book.active.append(list(ROWS[0]))
    for row in ROWS:
        book.active.append(list(row.values()))
    book.save(xlsx)
    empty = {"Indice": None, "Prompt": None, "SQL": None}
    assert list(read_rows(parquet, key=KEY)) == [*ROWS, empty]
    read = list(read_rows(xlsx, key=KEY))
    assert read == ROWS and isinstance(read[0]["Indice"], int)


def test_missing_file_offers_the_nearest_name(tmp_path: Path) -> None:
    write(tmp_path / "text2sql.jsonl", "{}")
    assert f"no such file; did you mean {tmp_path}/text2sql.jsonl?" in fault(
        tmp_path / "text2slq.jsonl"
    )
    assert "does not exist either" in fault(tmp_path / "no" / "rows.jsonl")


def test_unreadable_files(tmp_path: Path) -> None:
    (tmp_path / "folder.jsonl").mkdir()
    assert "is a directory" in fault(tmp_path / "folder.jsonl")
    assert "is empty (0 bytes)" in fault(write(tmp_path / "empty.csv", ""))
    assert ": no rows; give" in fault(write(tmp_path / "header.csv", "a,b\n"))
    assert ": no rows; give" in fault(write(tmp_path / "blank.jsonl", "\n \n"))
    assert "unknown extension '.txt'; known: .jsonl" in fault(write(tmp_path / "a.txt", "x"))


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read every file")
def test_file_without_permission(tmp_path: Path) -> None:
    path = write(tmp_path / "rows.jsonl", "{}")
    path.chmod(0)
    assert "Permission denied); chmod u+r" in fault(path)


def test_broken_json_names_file_and_line(tmp_path: Path) -> None:
    broken = fault(write(tmp_path / "a.jsonl", '{"a": 1}\n\n{"a": 1 "b": 2}\n'))
    assert "a.jsonl:3: not JSON (Expecting ',' delimiter, column 9); fix that line" in broken
    assert "b.json:2: not JSON" in fault(write(tmp_path / "b.json", '[{"a": 1},\n{"a" 1}]'))
    assert "rename it to .jsonl" in fault(write(tmp_path / "c.json", '{"a": [1]}\n{"a": [2]}\n'))
    assert "rename it to .json" in fault(write(tmp_path / "d.jsonl", '[\n{"a": 1}]'))


def test_json_that_is_not_an_object(tmp_path: Path) -> None:
    assert "a.jsonl:2: a list, not an object" in fault(write(tmp_path / "a.jsonl", "{}\n[1]\n"))
    assert "item 2 is a number" in fault(write(tmp_path / "b.json", '[{"a": 1}, 2]'))
    assert "lists under a, b" in fault(write(tmp_path / "c.json", '{"a": [], "b": []}'))
    assert "a string without a list" in fault(write(tmp_path / "d.json", '"hola"'))


@pytest.mark.parametrize("suffix", [".jsonl", ".csv", ".json"])
def test_not_utf8_names_byte_and_line(tmp_path: Path, suffix: str) -> None:
    head = (
        '[{"a": "é"},\n' if suffix == ".json" else '{"a": "é"}\n' if suffix == ".jsonl" else "a\n"
    )
    raw = head.encode() + '{"a": "año"}'.encode("latin1")
    offset = raw.index(b"\xf1")
    message = fault(write(tmp_path / f"rows{suffix}", raw))
    assert f"rows{suffix}:2: not UTF-8 (byte 0xf1 at offset {offset}); iconv -f latin1" in message


def test_broken_csv(tmp_path: Path) -> None:
    assert "a.csv:3: 3 cells but 2 columns" in fault(write(tmp_path / "a.csv", "a,b\n1,2\n1,2,3\n"))
    assert "'a'" in fault(write(tmp_path / "b.csv", "a,a\n1,2\n"))
    assert "c.csv:3: not CSV" in fault(write(tmp_path / "c.csv", 'a,b\n1,"2\n3,4\n'))


def test_files_with_the_wrong_extension(tmp_path: Path) -> None:
    assert "not a Parquet file" in fault(write(tmp_path / "a.parquet", "hola" * 100))
    assert "not an Excel file" in fault(write(tmp_path / "a.xlsx", "hola" * 100))
    whole = tmp_path / "b.parquet"
    pq.write_table(pa.Table.from_pylist(ROWS), whole)
    assert "not a Parquet file, or truncated" in fault(
        write(tmp_path / "cut.parquet", whole.read_bytes()[:-40])
    )


def write_sheets(path: Path, sheets: dict[str, list[list[object]]]) -> Path:
    book = openpyxl.Workbook()
    book.remove(book.active)
    for name, lines in sheets.items():
        sheet = book.create_sheet(name)
        for line in lines:
            sheet.append(line)
    book.save(path)
    return path


def test_with_two_filled_sheets_one_must_be_named(tmp_path: Path) -> None:
    head: list[object] = ["Prompt"]
    sheets: dict[str, list[list[object]]] = {
        "Train": [head, ["a"]],
        "Test 2": [head, ["b"], ["c"]],
        "Notes": [],
    }
    path = write_sheets(tmp_path / "rows.xlsx", sheets)
    message = fault(path)
    assert "2 sheets have rows ('Train', 'Test 2')" in message
    assert message.endswith("rows.xlsx#Train")
    assert fault(tmp_path / "rows.xlsx#Tran").endswith("name one of 'Train', 'Test 2', 'Notes'")
    assert "sheet 'Notes' is empty" in fault(tmp_path / "rows.xlsx#Notes")
    named = tmp_path / "rows.xlsx#Test 2"
    assert [row["Prompt"] for row in read_rows(named, key=KEY)] == ["b", "c"]


def test_an_empty_sheet_does_not_count(tmp_path: Path) -> None:
    path = write_sheets(tmp_path / "rows.xlsx", {"Notes": [], "Train": [["Prompt"], ["a"]]})
    assert list(read_rows(path, key=KEY)) == [{"Prompt": "a"}]
