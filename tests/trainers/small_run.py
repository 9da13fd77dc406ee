"""A run small enough for tests: the quickstart's settings on a few of its rows."""

import json
from pathlib import Path

import yaml

from trainers.config.schema import Config

ROOT = Path(__file__).resolve().parents[2]


def config_for(output_dir: Path, rows: Path, **train: object) -> Config:
    """The quickstart's settings on a few of its rows, two epochs, four steps each."""
    raw = yaml.safe_load((ROOT / "jobs/configs/quickstart.yaml").read_text())
    raw |= {"run_name": "small", "output_dir": str(output_dir)}
    raw["data"]["train_file"] = str(rows)
    for key in ("database", "schema_file"):
        raw["data"]["task_options"][key] = str(ROOT / raw["data"]["task_options"][key])
    raw["train"] |= {"num_train_epochs": 2, "train_batch_size": 8} | train
    raw["eval"] = {"eval_batch_size": 8, "max_new_tokens": 16}
    raw["checkpoint"] = {"save_strategy": "steps", "save_steps": 3, "save_total_limit": 4}
    return Config.model_validate(raw)


def write_rows(folder: Path) -> Path:
    """A file of 32 training and 6 validation rows of the set we ship."""
    lines = (ROOT / "datasets_src/shipped/senderos/text2sql.jsonl").read_text().splitlines()
    train = [line for line in lines if json.loads(line)["split"] == "train"][:32]
    held = [line for line in lines if json.loads(line)["split"] != "train"][:6]
    path = folder / "rows.jsonl"
    path.write_text("\n".join(train + held) + "\n")
    return path
