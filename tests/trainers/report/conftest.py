"""A run directory as the trainer writes it: records only, made by hand, the same every time."""

import random
from collections.abc import Callable
from pathlib import Path

import pytest

from trainers.storage.json_files import append_jsonl, write_json, write_jsonl, write_text

PLACES = ("Ordesa", "Aigüestortes", "Doñana", "Garajonay", "Picos de Europa", "Cabo de Gata")
STEP = 20  # optimizer steps between two checkpoints
WRONG = (0.62, 0.46, 0.3, 0.18, 0.14, 0.1, 0.16, 0.13, 0.12)  # base, checkpoints; the 5th is best


@pytest.fixture
def make_run(tmp_path: Path) -> Callable[..., Path]:
    """make_run(num_rows=40, num_checkpoints=6, name="demo") -> the run directory."""

    def make(*, num_rows: int = 40, num_checkpoints: int = 6, name: str = "demo") -> Path:
        return write_run(tmp_path / name, num_rows=num_rows, num_checkpoints=num_checkpoints)

    return make


def write_run(run_dir: Path, *, num_rows: int, num_checkpoints: int) -> Path:
    """All records of a finished run. Row i is right at checkpoint c by a seeded draw."""
    steps = [STEP * (i + 1) for i in range(num_checkpoints)]
    names = ["base", *(f"step-{step:06d}" for step in steps)]
    write_text(run_dir / "config.yaml", CONFIG)
    write_json(run_dir / "run.json", _run(steps[-1]))
    write_json(run_dir / "data.json", _data(num_rows))
    _write_metrics(run_dir, steps[-1])
    for step in steps:
        path = f"checkpoints/step-{step:06d}.a1b2c3"
        row = {"step": step, "epoch": step / STEP, "path": path, "attempt": 1, "num_bytes": 1}
        append_jsonl(run_dir / "checkpoints.jsonl", row)
    for i, name in enumerate(names):
        rows = _predictions(name, num_rows=num_rows, wrong=WRONG[i])
        write_jsonl(run_dir / "predictions" / f"{name}.jsonl", rows)
        append_jsonl(run_dir / "scores.jsonl", score(name, rows))
        if name == "base":
            _write_constant(run_dir, rows)
    write_json(run_dir / "artifact.json", artifact(names[min(5, num_checkpoints)]))
    return run_dir


def score(name: str, rows: list[dict]) -> dict:
    """A line of scores.jsonl over prediction rows, with Wilson intervals (z = 1.96)."""
    metrics = {
        metric: sum(row["scores"][metric] for row in rows) / len(rows)
        for metric in rows[0]["scores"]
    }
    step = int(name.removeprefix("step-")) if name.startswith("step-") else None
    return {
        "name": name,
        "step": step,
        "n": len(rows),
        "metric": "execution_accuracy",
        "metrics": metrics,
        "intervals": {key: wilson(value, len(rows)) for key, value in metrics.items()},
        "predictions": f"predictions/{name}.jsonl",
        "seconds": 6.25,
        "constant_reply": None,
        "num_groups": len({row["group"] for row in rows}),
        "slices": {f"place={place}": _slice(rows, place) for place in PLACES[:2]},
    }


def _slice(rows: list[dict], place: str) -> dict:
    right = [row["scores"]["execution_accuracy"] for row in rows if place in row["group"]]
    share = sum(right) / len(right)
    ends = wilson(share, len(right))
    return {"n": len(right), "num_groups": len(right), "value": share, "interval": ends}


def wilson(share: float, n: int) -> tuple[float, float]:
    """95 % interval of a share of n."""
    z2 = 1.96**2
    centre = (share + z2 / (2 * n)) / (1 + z2 / n)
    half = 1.96 * (share * (1 - share) / n + z2 / (4 * n * n)) ** 0.5 / (1 + z2 / n)
    return centre - half, centre + half


def _write_constant(run_dir: Path, like: list[dict]) -> None:
    """`SELECT NULL` to each of the rows, right for 7 of 40."""
    rows = []
    for i, row in enumerate(like):
        right = float(i % 40 < 7)
        scores = {"execution_accuracy": right, "exact_match": right, "valid_sql": 1.0}
        why = "" if right else "other rows than the reference"
        rows.append({**row, "reply": "SELECT NULL", "why": why, "scores": scores})
    write_jsonl(run_dir / "predictions/constant.jsonl", rows)
    changed = {"seconds": 0.4, "constant_reply": "SELECT NULL"}
    append_jsonl(run_dir / "scores.jsonl", score("constant", rows) | changed)


def _predictions(name: str, *, num_rows: int, wrong: float) -> list[dict]:
    rows = []
    for i in range(num_rows):
        draw = random.Random(f"{i}").random()  # one draw a row: a row once right stays right
        place, km = PLACES[i % len(PLACES)], 5 + i % 17
        target = f"SELECT nombre FROM rutas WHERE parque = '{place}' AND km > {km} ORDER BY nombre"
        right, late = draw >= wrong, wrong < 0.3
        reply = target if right and i % 8 else target.replace("AND", "and")
        reply = reply if right else f"SELECT nombre FROM rutas WHERE parque = '{place}'"
        if not right and not late:
            reply = (
                f"SELECT nombre, km FROM especies WHERE parque = '{PLACES[i % 5]}' AND km > {km}"
            )
        if not right and name == "base" and i % 3 == 0:
            reply = "rutas rutas " * 9
        exact = reply == target
        scores = {"execution_accuracy": right, "exact_match": exact, "valid_sql": "S" in reply}
        rows.append(
            {
                "id": f"v{i:03d}",
                "group": f"rutas-{place}-{km}",
                "inputs": {"question": f"¿Qué rutas de {place} superan los {km} kilómetros?"},
                "target": target,
                "reply": reply,
                "num_tokens": len(reply) // 4,
                "stopped": "S" in reply,
                "why": _why(reply, right=right),
                "scores": {key: float(value) for key, value in scores.items()},
            }
        )
    return rows


def _why(reply: str, *, right: bool) -> str:
    if right:
        return ""
    return "other rows than the reference" if "S" in reply else "not valid SQL"


def _write_metrics(run_dir: Path, last: int) -> None:
    noise = random.Random(7)
    for step in range(1, last + 1):
        row = {
            "step": step,
            "epoch": step / STEP,
            "loss": 0.08 + 2.4 * 0.97**step + noise.uniform(-0.05, 0.05) * 2.4 * 0.985**step,
            "learning_rate": 1e-3 * min(step / 10, 1 - (step - 10) / last * 0.9),
            "grad_norm": 0.4 + 1.6 * 0.98**step + noise.uniform(0, 0.3),
            "num_tokens": 1500,
            "num_packed_tokens": 600,
            "num_target_tokens": 240,
            "num_examples": 8,
            "step_time_s": 0.5 if step > 1 else 1.5,
            "attempt": 1 if step <= last * 0.6 else 2,
        }
        append_jsonl(run_dir / "metrics.jsonl", row)


def _run(last: int) -> dict:
    return {
        "run_name": "demo",
        "status": "finished",
        "exit_code": 0,
        "started_at": "2026-11-20T19:25:11Z",
        "ended_at": "2026-11-20T19:29:02Z",
        "versions": {"python": "3.11.9", "torch": "2.13.0", "ray": "2.60.0", "peft": "0.21.2"},
        "data_hash": "5e1f" * 16,
        "model_dir": "build/pocket",
        "prepared_dir": "runs/prepared/5e1f5e1f5e1f5e1f",
        "num_workers": 2,
        "dtype": "bfloat16",
        "num_trainable_parameters": 147_456,
        "num_parameters": 1_842_176,
        "total_steps": last,
        "attempts": 2,
        "time_s": {"prepare": 11.2, "train": 96.4, "evaluate": 61.0, "export": 48.5},
        "peak_memory_gib": 2.31,
        "error": None,
    }


def _data(num_rows: int) -> dict:
    train = [4, 31, 96, 160, 120, 64, 31, 10, 3, 1]
    validation = [0, 2, num_rows - 10, 5, 2, 1, 0, 0, 0, 0]
    return {
        "data_hash": "5e1f" * 16,
        "task": "text2sql",
        "template": "chat",
        "max_length": 512,
        "files": [{"path": "senderos/train.jsonl", "sha256": "ab12" * 16, "num_rows": 563}],
        "num_rows_in": 563 + num_rows,
        "num_rows": {"train": 520, "validation": num_rows},
        "num_groups": {"train": 173, "validation": num_rows // 3},
        "dropped": [
            {"reason": "longer than max_length", "num_rows": 41, "examples": ["t17", "t230"]},
            {"reason": "empty target", "num_rows": 2, "examples": ["t9", "t11"]},
        ],
        "num_tokens": {"train": 99_417, "validation": 7_310},
        "num_target_tokens": {"train": 15_731, "validation": 1_204},
        "length_histogram": {
            "edges": [i * 48 for i in range(11)],
            "train": train,
            "validation": validation,
        },
        "longest_tokens": 478,
        "straddling_groups": ["19", "23"],
        "split": "given",
        "leaks": {
            "exact": {"num_rows": 1, "pairs": [{"train": "t4", "validation": "v007"}]},
            "near": {
                "num_rows": 6,
                "pairs": [
                    {"train": f"t{i}", "validation": f"v00{i}", "jaccard": 0.86} for i in range(5)
                ],
            },
        },
        "target_duplicates": [
            {"target": "SELECT NULL", "num_rows": 97},
            {"target": "SELECT COUNT(*) FROM rutas", "num_rows": 12},
            {"target": "SELECT nombre FROM especies ORDER BY nombre", "num_rows": 7},
        ],
        "num_distinct_targets": 388,
    }


def artifact(checkpoint: str) -> dict:
    """artifact.json of that checkpoint, every gate passed."""
    return {
        "checkpoint": checkpoint,
        "adapter": {"path": "export/adapter", "num_bytes": 612_344},
        "merged": {"path": "export/merged", "num_bytes": 3_712_090},
        "gguf": [
            {"path": "export/demo-f16.gguf", "num_bytes": 3_801_216},
            {"path": "export/demo-q8_0.gguf", "num_bytes": 2_104_320},
        ],
        "gates": [
            gate("merged logits", 3.1e-5, 1e-3, "largest difference over 12 prompts"),
            gate("token ids", 0, 0, "64 probe texts and 40 chat prompts"),
            gate("f16 replies", 40, 40, "GGUF equals merged: 40/40"),
            gate("q8_0 replies", 39, 38, "GGUF equals merged: 39/40"),
        ],
    }


def gate(name: str, value: float, limit: float, detail: str) -> dict:
    """One passed gate."""
    return {"name": name, "passed": True, "value": value, "limit": limit, "detail": detail}


CONFIG = """\
run_name: demo
output_dir: runs
model: {model_name_or_path: pocket, dtype: auto}
data: {task: text2sql, train_file: senderos/train.jsonl, max_length: 512}
method: {method_type: lora, lora_r: 16, lora_alpha: 32}
train:
  num_train_epochs: 6
  train_batch_size: 8
  learning_rate: 0.001
"""
