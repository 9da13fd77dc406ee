"""`jobs.prepare`: what it prints, and that it does the work once."""

import json
from pathlib import Path

import pytest
import yaml

from datasets_src.errors import UserError
from jobs.prepare import main
from trainers.pocket_tokenizer import train_tokenizer


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
            "task": "tests.benchmarks.description_rows",
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
    told = capsys.readouterr().out
    assert "rows in     24" in told and "24 of rows.jsonl" in told
    assert "train       20 rows, 20 groups" in told and "validation  4 rows, 4 groups" in told
    assert "«Es 0<|im_end|>»" in told and "already prepared" not in told
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
