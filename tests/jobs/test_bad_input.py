"""Bad input of `jobs.finetune`: exit 2, one line a fault, no traceback, nothing half-written."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from datasets_src.errors import UserError
from jobs.finetune import main

ROOT = Path(__file__).resolve().parents[2]
QUICKSTART = "jobs/configs/quickstart.yaml"


@pytest.fixture(autouse=True)
def _from_the_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)


def fault_of(*overrides: str) -> str:
    with pytest.raises(UserError) as caught:
        main([QUICKSTART, *overrides])
    assert len(caught.value.faults) == 1
    return caught.value.faults[0]


def test_the_command_exits_2_with_one_line_a_fault(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "jobs.finetune", QUICKSTART, "learning_rate=fast", "lora_rr=3",
         f"output_dir={tmp_path}/runs"],
        cwd=ROOT, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 2 and done.stdout == ""
    lines = done.stderr.splitlines()
    assert len(lines) == 2 and all(line.startswith("error: ") for line in lines), done.stderr
    assert "did you mean method.lora_r" in done.stderr and "'fast'" in done.stderr
    assert not (tmp_path / "runs").exists()


def test_help_lists_every_key_with_its_default() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "jobs.finetune", "--help"], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0
    for words in ("train.learning_rate", "[0.0001]", "data.train_file", "[required]"):
        assert words in done.stdout


def test_help_for_a_config_lists_the_options_of_its_task(
    capsys: pytest.CaptureFixture[str],
) -> None:
    config = QUICKSTART
    for argv, words in (
        ([config, "--help"], ["data.task_options.dialect", "(sqlite, tsql, duckdb, postgres)"]),
        (["./" + config, "-h"], ["data.task_options.dialect"]),
        ([config, "task=doi", "--help"], ["data.task_options.answer_form"]),
        ([config, "task=none", "--help"], ["tasks: descriptions, doi"]),
        (["gone.yaml", "--help"], ["tasks: descriptions, doi"]),
        (["--help"], ["with CONFIG.yaml"]),
    ):
        with pytest.raises(SystemExit):
            main(argv)
        output = capsys.readouterr().out
        assert all(word in output for word in words), output


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("train_file=nowhere.jsonl", ["data.train_file", "nowhere.jsonl"]),
        ("task=text3sql", ["data.task", "text3sql", "text2sql"]),
        ("metric_for_best_model=acuracy", ["eval.metric_for_best_model", "execution_accuracy"]),
        ("lora_target_modules=[query_key_value, q_proj]", ["query_key_value", "v_proj"]),
        ("task_options={database: gone.sqlite}", ["database", "gone.sqlite"]),
        ("task_options={databse: x}", ["databse", "did you mean"]),
        ("data.task_options.dialct=tsql", ["dialct", "did you mean dialect"]),
        ("columns={question: Pregunta}", ["Pregunta", "question"]),
        ("max_length=40", ["max_length", "40"]),
    ],
)
def test_a_fault_names_value_and_remedy(
    override: str, words: list[str], tmp_path: Path, pocket: Path, ray_local: None
) -> None:
    output = fault_of(override, f"output_dir={tmp_path}/runs")
    assert all(word in output for word in words), output
    assert not list(tmp_path.glob("runs/quickstart*")), "something was half-written"


def broken_json(path: Path) -> None:
    path.write_text('{"question": "a", "sql": "SELECT 1"}\n{"question": \n')


def not_utf8(path: Path) -> None:
    path.write_bytes(b'{"question": "\xe1", "sql": "SELECT 1"}\n')


def empty(path: Path) -> None:
    path.write_text("")


def without_target(path: Path) -> None:
    rows = [{"question": f"q{i}", "sql": "" if i == 7 else "SELECT 1"} for i in range(20)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


@pytest.mark.parametrize(
    ("write", "words"),
    [
        (broken_json, ["rows.jsonl:2"]),
        (not_utf8, ["UTF-8", "rows.jsonl:1"]),
        (empty, ["empty"]),
        (without_target, ["sql", "8"]),
    ],
)
def test_a_fault_in_a_file_names_its_place(
    write: Callable[[Path], None], words: list[str], tmp_path: Path, pocket: Path, ray_local: None
) -> None:
    write(tmp_path / "rows.jsonl")
    rows = f"train_file={tmp_path}/rows.jsonl"
    output = fault_of(rows, "max_bad_rows=0", f"output_dir={tmp_path}/runs")
    assert all(word in output for word in words), output


@pytest.mark.parametrize(
    ("model", "words"),
    [
        ("./nowhere", ["neither a local directory", "owner/name"]),
        ("jobs", ["config.json"]),
        ("gallipato/no-such-model", ["gallipato/no-such-model", "offline"]),
    ],
)
def test_a_model_that_is_not_there(
    model: str, words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    output = fault_of(f"model_name_or_path={model}", f"output_dir={tmp_path}/runs")
    assert all(word in output for word in words), output


def test_storage_that_cannot_be_written_or_is_too_small(
    tmp_path: Path, pocket: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    assert "cannot be written" in fault_of(f"output_dir={tmp_path}/file/runs")
    # A base whose weights file claims more bytes than any disk here has: sparse, so it takes none.
    huge = tmp_path / "huge"
    huge.mkdir()
    for path in pocket.iterdir():
        if path.suffix != ".safetensors":
            (huge / path.name).write_bytes(path.read_bytes())
    free = os.statvfs(tmp_path).f_bavail * os.statvfs(tmp_path).f_frsize
    with (huge / "model.safetensors").open("wb") as file:
        file.truncate(free)
    output = fault_of(f"model_name_or_path={huge}", f"output_dir={tmp_path}/runs")
    assert "GiB free, the run needs about" in output and "export_best=false" in output


def test_zero_without_deepspeed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "deepspeed", None)  # what Python sees where it is missing
    output = fault_of("zero_stage=3", f"output_dir={tmp_path}/runs")
    assert "scaling.zero_stage: 3" in output and "--group zero" in output
    assert not (tmp_path / "runs").exists()
