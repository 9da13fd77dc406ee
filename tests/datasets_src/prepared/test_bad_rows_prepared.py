"""Preparing data with bad rows: good rows are unaffected, and the limit is enforced."""

import json
from pathlib import Path
from typing import Any

import pytest

from datasets_src.config import DataConfig
from datasets_src.errors import UserError
from datasets_src.pipeline import Prepared, find_prepared, prepare
from datasets_src.prepared.data_report import format_report
from datasets_src.reading.bad_rows import FILE_NAME, format_bad_rows

BROKEN = {16: '{"prompt": "¿Qué', 41: '["a"]', 99: '{"id": "100", "prompt": "a"}'}


def write_rows(path: Path, bad: dict[int, str], *, num_rows: int = 100) -> Path:
    """Rows with ids; at the indices of `bad`, its texts replace them."""
    same = {"description": "Es una planta.", "science": "Vivaz.", "context": "[]"}
    rows = [
        {"id": str(i + 1), "prompt": f"¿Qué sé de {i}?", **same, "target": f"Texto {i}"}
        for i in range(num_rows)
    ]
    lines = [bad.get(i, json.dumps(row, ensure_ascii=False)) for i, row in enumerate(rows)]
    path.write_text("".join(f"{line}\n" for line in lines if line), encoding="utf-8")
    return path


def config(path: Path, **more: Any) -> DataConfig:
    return DataConfig.model_validate(
        {"task": "tests.benchmarks.step.description_rows", "train_file": str(path), **more}
    )


def report_of(prepared: Prepared) -> dict[str, Any]:
    value: dict[str, Any] = json.loads((prepared.directory / "data.json").read_text("utf-8"))
    return value


def test_3_of_100_are_listed_and_the_others_keep_their_bytes(
    ray_local: None, chat_model: Path, tmp_path: Path
) -> None:
    data = config(write_rows(tmp_path / "rows.jsonl", BROKEN))
    made = prepare(data, model_dir=chat_model, output_dir=tmp_path / "runs")
    without = config(write_rows(tmp_path / "clean.jsonl", dict.fromkeys(BROKEN, "")))
    clean = prepare(without, model_dir=chat_model, output_dir=tmp_path / "runs")
    for name in ("train.parquet", "validation.parquet"):
        assert (made.directory / name).read_bytes() == (clean.directory / name).read_bytes()
    assert not (clean.directory / FILE_NAME).exists()
    text = (made.directory / FILE_NAME).read_text(encoding="utf-8")
    listed = [json.loads(line) for line in text.splitlines()]
    assert [(row["line"], row["row"]) for row in listed] == [
        (17, BROKEN[16]),
        (42, BROKEN[41]),
        (100, json.loads(BROKEN[99])),
    ]
    assert listed[2]["id"] == "100" and "'target'" in listed[2]["reason"]
    report = report_of(made)
    assert report["num_rows_in"] == 100 and sum(report["num_rows"].values()) == 97
    assert [(drop["reason"], drop["num_rows"], drop["examples"]) for drop in report["dropped"]] == [
        ("bad: not JSON", 1, ["rows.jsonl:17"]),
        ("bad: not an object", 1, ["rows.jsonl:42"]),
        ("bad: missing value", 1, ["rows.jsonl:100"]),
    ]
    assert "dropped     1: bad: not JSON (rows.jsonl:17)" in format_report(report)
    line = format_bad_rows(report, made.directory)
    assert line.startswith(
        f"3 of 100 rows are bad and left out (full list: {made.directory}/bad_rows.jsonl):"
        " rows.jsonl:17 not JSON (Unterminated string starting at, column 12), rows.jsonl:42 a list"
    )
    assert format_bad_rows(report_of(clean), clean.directory) == ""


def test_the_limit_is_not_hashed_but_always_enforced(
    ray_local: None, chat_model: Path, tmp_path: Path
) -> None:
    path, out = write_rows(tmp_path / "rows.jsonl", BROKEN), tmp_path / "runs"
    with pytest.raises(UserError, match=r"3 of 100 rows are bad, limit 2 %: ") as few:
        prepare(config(path, max_bad_rows=0.02), model_dir=chat_model, output_dir=out)
    [kept] = (out / "prepared").iterdir()
    assert str(kept) in str(few.value) and len(kept.read_text("utf-8").splitlines()) == 3
    made = prepare(config(path, max_bad_rows=0.03), model_dir=chat_model, output_dir=out)
    assert list((out / "prepared").iterdir()) == [made.directory]
    assert kept.name == f"bad_rows-{made.directory.name}.jsonl"
    again = prepare(config(path, max_bad_rows=0.5), model_dir=chat_model, output_dir=out)
    assert again == made
    for limit in (0, 0.02):
        with pytest.raises(UserError, match=r"rows.jsonl:17 .*set data.max_bad_rows=0.03") as low:
            find_prepared(config(path, max_bad_rows=limit), model_dir=chat_model, output_dir=out)
        assert str(made.directory / FILE_NAME) in str(low.value)


def test_0_fails_on_the_first_bad_row(ray_local: None, chat_model: Path, tmp_path: Path) -> None:
    data = config(write_rows(tmp_path / "rows.jsonl", BROKEN), max_bad_rows=0)
    with pytest.raises(UserError) as caught:
        prepare(data, model_dir=chat_model, output_dir=tmp_path / "runs")
    assert str(caught.value) == (
        f"data.train_file: {tmp_path}/rows.jsonl:17: not JSON (Unterminated string starting at,"
        " column 12); fix that line"
    )
    assert list(tmp_path.glob("runs/prepared/*")) == []


@pytest.mark.parametrize("template", ["chat", "plain"])
def test_rows_with_an_empty_target(
    ray_local: None, chat_model: Path, tmp_path: Path, template: str
) -> None:
    """The target tokens decide: with `plain`, this task ends a reply with a line break."""
    row = (
        '{"id": "x", "prompt": "a", "description": "", "science": "", "context": "", "target": ""}'
    )
    path = write_rows(tmp_path / "rows.jsonl", {0: row})
    data = config(path, template=template)
    made = prepare(data, model_dir=chat_model, output_dir=tmp_path / "runs")
    dropped = report_of(made)["dropped"]
    reason = {"reason": "bad: empty target", "num_rows": 1, "examples": ["rows.jsonl:1"]}
    assert dropped == ([reason] if template == "chat" else [])
    if template == "chat":
        clean = config(write_rows(tmp_path / "clean.jsonl", {0: ""}))
        other = prepare(clean, model_dir=chat_model, output_dir=tmp_path / "runs")
        for name in ("train.parquet", "validation.parquet"):
            assert (made.directory / name).read_bytes() == (other.directory / name).read_bytes()


def test_a_file_of_only_bad_rows(ray_local: None, chat_model: Path, tmp_path: Path) -> None:
    data = config(write_rows(tmp_path / "rows.jsonl", dict.fromkeys(range(3), "?"), num_rows=3))
    with pytest.raises(UserError, match=r"3 of 3 rows are bad.*; fix them \(full list: .*\)$"):
        prepare(data, model_dir=chat_model, output_dir=tmp_path / "runs")
