"""JSONL files whose writer may have been killed at any byte."""

from pathlib import Path

from trainers.storage.json_files import read_jsonl, write_text


def test_a_torn_last_line_is_left_out(tmp_path: Path) -> None:
    write_text(tmp_path / "metrics.jsonl", '{"step": 1}\n{"step": 2}\n{"ste')
    assert [row["step"] for row in read_jsonl(tmp_path / "metrics.jsonl")] == [1, 2]
