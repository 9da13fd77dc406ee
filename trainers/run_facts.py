"""Sizes, seconds and memory of a run, for run.json.

run_facts(run_dir)["train_s"] == 81.4
"""

from pathlib import Path
from typing import Any

from trainers.run_dir import read_json, read_jsonl

PROGRESS = "progress.json"


def run_facts(run_dir: Path) -> dict[str, Any]:
    """What progress.json and the records say, summed over all attempts."""
    state = read_json(run_dir / PROGRESS)
    steps = list(read_jsonl(run_dir / "metrics.jsonl"))
    scores = list(read_jsonl(run_dir / "scores.jsonl"))
    saves = list(read_jsonl(run_dir / "checkpoints.jsonl"))
    names = ("dtype", "num_parameters", "num_trainable_parameters", "total_steps")
    return {name: state.get(name) for name in names} | {
        "train_s": round(sum(row["step_time_s"] for row in steps), 2),
        "evaluate_s": round(sum(row["seconds"] for row in scores), 2),
        "peak_memory_gib": max((row["peak_memory_gib"] for row in saves), default=None),
    }
