"""What a run directory says: its records read once, later lines replacing earlier ones.

records = read_records(Path("runs/demo"))
records.metrics[-1]["loss"]        the last step; a step done twice (resume) counts once
records.absent                     ("artifact.json",): what the run has not written yet
"""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trainers.run.records import REPORTED_FILES
from trainers.run.scores import BASELINE_LABELS, BASELINES
from trainers.storage.json_files import read_json, read_jsonl

Row = dict[str, Any]
STEP_NAME = re.compile(r"step-(\d+)")


@dataclass(frozen=True)
class Records:
    """All records of one run; what is not there yet is empty and named in `absent`."""

    run_dir: Path
    config_text: str
    run: Row
    data: Row
    metrics: list[Row]
    checkpoints: list[Row]
    scores: list[Row]
    predictions: dict[str, list[Row]]
    artifact: Row
    absent: tuple[str, ...]

    @property
    def name(self) -> str:
        """The run's name; the directory's where run.json is not written yet."""
        return str(self.run.get("run_name") or self.run_dir.resolve().name)


def read_records(run_dir: Path) -> Records:
    """Read every record of `run_dir`; metrics one row a step, scores one row a name, by step."""
    config = run_dir / "config.yaml"
    metrics = {row["step"]: row for row in read_jsonl(run_dir / "metrics.jsonl")}
    checkpoints = {row["step"]: row for row in read_jsonl(run_dir / "checkpoints.jsonl")}
    scores = {row["name"]: row for row in read_jsonl(run_dir / "scores.jsonl")}
    return Records(
        run_dir=run_dir,
        config_text=config.read_text(encoding="utf-8") if config.exists() else "",
        run=read_json(run_dir / "run.json"),
        data=read_json(run_dir / "data.json"),
        metrics=[metrics[step] for step in sorted(metrics)],
        checkpoints=[checkpoints[step] for step in sorted(checkpoints)],
        scores=sorted(scores.values(), key=lambda score: name_order(score["name"])),
        predictions=_read_predictions(run_dir / "predictions"),
        artifact=read_json(run_dir / "artifact.json"),
        absent=tuple(name for name in REPORTED_FILES if not (run_dir / name).exists()),
    )


def step_of(name: str) -> int | None:
    """140 of "step-000140" or of a path that holds it; None of "base" and the like."""
    found = STEP_NAME.search(name)
    return int(found.group(1)) if found else None


def name_order(name: str) -> tuple[int, int, str]:
    """Sort key: the baselines, then checkpoints by step."""
    step = step_of(name)
    if step is not None:
        return (len(BASELINES), step, name)
    return (BASELINES.index(name) if name in BASELINES else len(BASELINES), 0, name)


def label_of(name: str) -> str:
    """What a reader sees: "untuned base", "best constant", "step 140"."""
    step = step_of(name)
    return BASELINE_LABELS.get(name, name) if step is None else f"step {step:,}"


def _read_predictions(folder: Path) -> dict[str, list[Row]]:
    names = sorted((path.stem for path in folder.glob("*.jsonl")), key=name_order)
    return {name: list(read_jsonl(folder / f"{name}.jsonl")) for name in names}
