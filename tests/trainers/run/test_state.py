"""Who may write a run's directory, and with which settings."""

import shutil
from pathlib import Path

import pytest

from datasets_src.errors import UserError
from datasets_src.files import sha256_file
from datasets_src.prepared.fingerprint import part_digests
from tests.trainers.small_run import config_for
from trainers.export.gates import GateFailed
from trainers.run.state import RunState
from trainers.storage.json_files import read_json, write_json


def test_a_changed_config_or_a_second_writer_is_refused(
    small_rows: Path, tmp_path: Path, pocket: Path
) -> None:
    config = config_for(tmp_path, small_rows)
    with RunState.open(config, data_hash="d" * 64, model_dir=pocket) as first:
        with pytest.raises(UserError, match=r"is being written by process \d+"):
            RunState.open(config, data_hash="d" * 64, model_dir=pocket)
        first.finish()
    changed = config_for(tmp_path, small_rows, learning_rate=0.5)
    with pytest.raises(UserError, match=r"train.learning_rate: 0.003 -> 0.5"):
        RunState.open(changed, data_hash="d" * 64, model_dir=pocket)
    with pytest.raises(UserError, match=r"data: the task module text2sql, .* or a data file"):
        RunState.open(config, data_hash="e" * 64, model_dir=pocket)
    other = shutil.copytree(pocket, tmp_path / "base")
    with (other / "config.json").open("a") as file:
        file.write(" ")
    with pytest.raises(UserError, match=r"base: config.json changed"):
        RunState.open(config, data_hash="d" * 64, model_dir=other)
    scaled = config.model_copy(
        update={"scaling": config.scaling.model_copy(update={"num_workers": 1})}
    )
    with RunState.open(scaled, data_hash="d" * 64, model_dir=pocket) as again:
        assert again.record["status"] == "finished"


def test_a_rejected_file_leaves_the_run_finished(
    small_rows: Path, tmp_path: Path, pocket: Path
) -> None:
    config = config_for(tmp_path, small_rows)
    rejected = GateFailed("export: demo-q8_0.gguf is rejected by the gate stop: …")
    with RunState.open(config, data_hash="d" * 64, model_dir=pocket) as run:
        run.finish(rejected)
        ended = run.record["ended_at"]
    record = read_json(run.run_dir / "run.json")
    assert (record["status"], record["exit_code"]) == ("finished", 3)
    assert record["error"] == str(rejected)
    # The same command again: nothing to train, and the export passes now.
    with RunState.open(config, data_hash="d" * 64, model_dir=pocket) as run:
        assert run.record["status"] == "finished" and run.record["ended_at"] == ended
        run.finish()
    record = read_json(run.run_dir / "run.json")
    assert (record["status"], record["exit_code"], record["error"]) == ("finished", 0, None)


def test_a_run_of_an_earlier_version_was_made_with_the_default_of_a_later_key(
    small_rows: Path, tmp_path: Path, pocket: Path
) -> None:
    config = config_for(tmp_path, small_rows)
    with RunState.open(config, data_hash="d" * 64, model_dir=pocket) as first:
        path = first.run_dir / "config.yaml"
    written = path.read_text("utf-8")
    assert "  enable_thinking: false\n" in written
    path.write_text(written.replace("  enable_thinking: false\n", ""), encoding="utf-8")
    thinking = config.model_copy(
        update={"model": config.model.model_copy(update={"enable_thinking": True})}
    )
    with pytest.raises(UserError, match=r"model.enable_thinking: False -> True"):
        RunState.open(thinking, data_hash="d" * 64, model_dir=pocket)
    with RunState.open(config, data_hash="d" * 64, model_dir=pocket) as again:
        again.finish()


def test_a_refusal_names_the_part_of_the_data_that_changed_and_both_remedies(
    small_rows: Path, tmp_path: Path, pocket: Path
) -> None:
    config = config_for(tmp_path, small_rows)
    parts = part_digests(config.data, model_dir=pocket)
    task = f"task module datasets_src.tasks.{config.data.task}"
    assert set(parts) > {task, "data files", "tokenizer"}
    with RunState.open(config, data_hash="d" * 64, model_dir=pocket, data_parts=parts) as run:
        before = sorted(path.name for path in run.run_dir.iterdir())
    with pytest.raises(UserError) as refused:
        RunState.open(
            config, data_hash="e" * 64, model_dir=pocket, data_parts=parts | {task: "other"}
        )
    assert str(refused.value) == (
        f"run_name: {run.run_dir} was started with other inputs (data: {task} changed); choose "
        "another run_name, or restore them (check out the version that started it) to resume; "
        "nothing was changed"
    )
    assert sorted(path.name for path in run.run_dir.iterdir()) == before
    with RunState.open(config, data_hash="d" * 64, model_dir=pocket) as again:
        assert again.record["data_parts"] == parts


def test_a_run_of_an_earlier_version_is_refused_by_what_its_data_report_rules_out(
    small_rows: Path, tmp_path: Path, pocket: Path
) -> None:
    config, rows = config_for(tmp_path, small_rows), tmp_path / "rows.jsonl"
    rows.write_text("{}\n")
    with RunState.open(config, data_hash="d" * 64, model_dir=pocket) as run:
        pass
    record = read_json(run.run_dir / "run.json")
    del record["data_parts"]  # earlier versions had no such key
    write_json(run.run_dir / "run.json", record)
    write_json(
        run.run_dir / "data.json", {"files": [{"path": str(rows), "sha256": sha256_file(rows)}]}
    )
    parts = part_digests(config.data, model_dir=pocket)

    def refusal() -> str:
        with pytest.raises(UserError) as refused:
            RunState.open(config, data_hash="e" * 64, model_dir=pocket, data_parts=parts)
        return str(refused.value)

    assert f"data: the task module {config.data.task}, a file of" in refusal()
    assert "changed; the data files did not);" in refusal()
    rows.write_text("{} \n")
    assert f"(data: {rows} changed);" in refusal()
