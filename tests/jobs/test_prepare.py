"""`jobs.prepare`: what it prints, and that it does the work once."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from datasets_src.errors import UserError
from jobs.prepare import main
from trainers.models.pocket.tokenizer import train_tokenizer

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def config_file(tmp_path: Path) -> Path:
    model = tmp_path / "model"
    model.mkdir()
    train_tokenizer(model, ["¿Cuántas rutas hay? Doce rutas."] * 3, vocab_size=300)
    (model / "config.json").write_text('{"model_type": "llama"}', encoding="utf-8")
    rows = [
        {"prompt": f"¿Qué es {i}?", "description": "a", "science": "b", "context": "[]"}
        | {"answer": f"Es {i % 7}", "Split": "Train" if i < 20 else "Test"}
        for i in range(24)
    ]
    text = "\n".join(json.dumps(row, ensure_ascii=False) for row in rows)
    (tmp_path / "rows.jsonl").write_text(text, encoding="utf-8")
    config = {
        "run_name": "demo",
        "output_dir": str(tmp_path / "runs"),
        "model": {"model_name_or_path": str(model)},
        "data": {
            "task": "tests.benchmarks.step.description_rows",
            "train_file": str(tmp_path / "rows.jsonl"),
            "columns": {"target": "answer"},
        },
    }
    (tmp_path / "demo.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
    return tmp_path / "demo.yaml"


def test_prints_a_table_and_one_example(
    ray_local: None, config_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(config_file)]) == 0
    printed = capsys.readouterr().out
    assert "rows in     24" in printed and "24 of rows.jsonl" in printed
    assert "train       20 rows, 20 groups" in printed and "validation  4 rows, 4 groups" in printed
    assert "«Es 0<|im_end|>»" in printed and "already prepared" not in printed
    assert main([str(config_file)]) == 0
    assert "(already prepared)" in capsys.readouterr().out


def test_a_missing_column_ends_with_the_line_to_add(
    ray_local: None, config_file: Path, tmp_path: Path
) -> None:
    text = config_file.read_text(encoding="utf-8").replace("target: answer", "{}")
    config_file.write_text(text, encoding="utf-8")
    with pytest.raises(UserError, match=r"no column 'target' .*present: prompt, .*answer, Split; "):
        main([str(config_file)])
    assert not list((tmp_path / "runs").glob("prepared/*"))


def break_rows(path: Path, numbers: set[int]) -> None:
    """Cut off the lines of these numbers."""
    lines = path.read_text(encoding="utf-8").splitlines()
    cut = [line[:20] if number in numbers else line for number, line in enumerate(lines, start=1)]
    path.write_text("".join(f"{line}\n" for line in cut), encoding="utf-8")


def test_bad_rows_are_told_in_one_line(
    ray_local: None, config_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    break_rows(tmp_path / "rows.jsonl", {5})
    for _ in range(2):  # made, then found
        assert main([str(config_file)]) == 0
        lines = [line for line in capsys.readouterr().out.splitlines() if " bad and " in line]
        assert len(lines) == 1 and lines[0].startswith(
            "data      1 of 24 rows are bad and left out"
        )
        assert "/bad_rows.jsonl): rows.jsonl:5 not JSON (" in lines[0]


def test_too_many_bad_rows_exit_2_and_leave_only_their_list(
    config_file: Path, tmp_path: Path
) -> None:
    rows = (tmp_path / "rows.jsonl").read_text(encoding="utf-8")
    (tmp_path / "rows.jsonl").write_text("\n".join([rows] * 5), encoding="utf-8")
    break_rows(tmp_path / "rows.jsonl", set(range(3, 51)))
    done = subprocess.run(
        [sys.executable, "-m", "jobs.prepare", str(config_file)],
        cwd=ROOT, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 2, done.stderr
    [output] = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    [kept] = (tmp_path / "runs" / "prepared").iterdir()
    assert "data.max_bad_rows: 48 of 120 rows are bad, limit 5 %: rows.jsonl:3" in output
    assert "rows.jsonl:5 not JSON (" in output and "rows.jsonl:6" not in output
    assert f"fix them (full list: {kept}), or set data.max_bad_rows=0.4 to leave them out" in output
    assert kept.name.startswith("bad_rows-") and "Traceback" not in done.stderr
    listed = [json.loads(line) for line in kept.read_text(encoding="utf-8").splitlines()]
    assert [row["line"] for row in listed] == list(range(3, 51))
