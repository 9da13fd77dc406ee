"""trainers.loop.run with dora, qlora and full: it learns, resumes bit-identically, exports."""

import json
import shutil
import sqlite3
from pathlib import Path

import pyarrow as pa
import pytest

from datasets_src.prepared.store import SplitWriter
from tests.trainers.export.tiny_export import ROWS, build_base, dialogues
from tests.trainers.methods.tiny_train import CONFIGS
from trainers.config.schema import Config
from trainers.export.export import export_best
from trainers.loop import run
from trainers.methods.choose import method_module
from trainers.storage.checkpoints import list_checkpoints
from trainers.storage.json_files import read_json, read_jsonl
from trainers.train_state import WorkerSpec


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A base, and its rows as `prepare` writes them: eight to train on, four held out."""
    folder = tmp_path_factory.mktemp("loop")
    base = build_base(folder / "base")
    with sqlite3.connect(folder / "db.sqlite") as database:
        for table in {sql.split(" FROM ")[1].split()[0] for _, sql in ROWS}:
            database.execute(f"CREATE TABLE {table} (lugar TEXT)")
            database.execute(f"INSERT INTO {table} VALUES ('Ávila'), ('Béjar')")
    shared = {"database": str(folder / "db.sqlite"), "dialect": "sqlite", "bindings": [{}]}
    shared["schema"] = ""
    examples = list(zip(ROWS, dialogues(base), strict=True))
    for name, part in (("train", examples[:8]), ("validation", examples[8:])):
        inputs = [{"question": question, **shared} for (question, _), _ in part]
        writer = SplitWriter(folder / f"{name}.parquet", {})
        writer.write(
            pa.table(
                {
                    "id": [f"{name}-{i}" for i in range(len(part))],
                    "group": [f"{name}-{i}" for i in range(len(part))],
                    "length": [len(ids) for _, (ids, _) in part],
                    "prompt_len": [num_prompt for _, (_, num_prompt) in part],
                    "input_ids": [ids for _, (ids, _) in part],
                    "example": [
                        json.dumps({"inputs": one, "absent": [], "target": sql})
                        for one, ((_, sql), _) in zip(inputs, part, strict=True)
                    ],
                }
            )
        )
        writer.close()
    return folder


def config_for(output_dir: Path, base: Path, name: str) -> Config:
    return Config.model_validate(
        {
            "run_name": name,
            "output_dir": str(output_dir),
            "model": {"model_name_or_path": str(base), "dtype": "auto"},
            "data": {"train_file": "rows.jsonl"},
            "method": {"method_type": name} | ({} if name == "full" else {"lora_r": 4}),
            "train": {"train_batch_size": 4, "num_train_epochs": 3, "learning_rate": 5e-3},
            "eval": {"eval_batch_size": 4, "max_new_tokens": 6},
            "checkpoint": {"save_strategy": "steps", "save_steps": 2, "save_total_limit": 4},
            "export": {"gguf_types": []},
        }
    )


def run_alone(config: Config, prepared: Path, attempt: str) -> Path:
    run_dir = Path(config.output_dir) / config.run_name
    run(WorkerSpec(config, run_dir, prepared, attempt, rank=0, world_size=1, num_threads=1))
    return run_dir


def saved_bytes(run_dir: Path, name: str) -> list[bytes]:
    [last] = [c for c in list_checkpoints(run_dir / "checkpoints") if c.step == 6]
    return [
        (last.path / file).read_bytes()
        for file in (method_module(CONFIGS[name]).FILES[1], "optimizer.safetensors")
    ]


@pytest.mark.parametrize("name", ["dora", "qlora", "full"])
def test_a_run_learns_resumes_and_exports(prepared: Path, tmp_path: Path, name: str) -> None:
    base = prepared / "base"
    config = config_for(tmp_path / "one", base, name)
    run_dir = run_alone(config, prepared, "one")
    losses = [row["loss"] for row in read_jsonl(run_dir / "metrics.jsonl")]
    assert len(losses) == 6 and losses[4] + losses[5] < 0.97 * (losses[0] + losses[1])
    scores = {row["name"]: row["n"] for row in read_jsonl(run_dir / "scores.jsonl")}
    assert scores == dict.fromkeys(
        ("base", "few_shot", "constant", "step-000002", "step-000004", "step-000006"), 4
    )

    replies = [run_dir / f"predictions/{at}.jsonl" for at in ("base", "step-000006")]
    assert replies[0].read_bytes() != replies[1].read_bytes()

    # As killed after step 4 and before any score: the base is scored with the adapter disabled, or
    # with the base's weights, not with those of the checkpoint.
    again = config_for(tmp_path / "two", base, name)
    other = Path(again.output_dir) / name
    shutil.copytree(run_dir, other)
    [last] = [c for c in list_checkpoints(other / "checkpoints") if c.step == 6]
    shutil.rmtree(last.path)
    (other / "scores.jsonl").unlink()
    shutil.rmtree(other / "predictions")
    run_alone(again, prepared, "two")
    for reply in ("base", "step-000006"):
        file = f"predictions/{reply}.jsonl"
        assert (other / file).read_bytes() == (run_dir / file).read_bytes(), reply
    assert saved_bytes(other, name) == saved_bytes(run_dir, name)
    assert [row["loss"] for row in read_jsonl(other / "metrics.jsonl")] == losses

    exported = export_best(
        run_dir, config=config, model_dir=base, prepared_dir=prepared, say=lambda line: None
    )
    [gate] = exported["gates"]
    assert gate["name"] == "merged logits" and gate["passed"] and gate["value"] < 1e-4
    assert (exported["adapter"] is None) == (name == "full")
    # The same call finds the finished export.
    lines: list[str] = []
    again_exported = export_best(
        run_dir, config=config, model_dir=base, prepared_dir=prepared, say=lines.append
    )
    assert again_exported == read_json(run_dir / "artifact.json") == exported
    assert len(lines) == 1 and "exported already" in lines[0]
    tokenizer = "export/merged/tokenizer.model"
    assert (run_dir / tokenizer).read_bytes() == (base / "tokenizer.model").read_bytes()
