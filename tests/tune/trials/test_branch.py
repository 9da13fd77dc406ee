"""What a run copies from the run it branches from, and what serves if that is gone."""

import shutil
from dataclasses import asdict
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from datasets_src.types import Score
from trainers.storage.checkpoints import list_checkpoints, save_checkpoint, step_name
from trainers.storage.json_files import append_jsonl, read_jsonl
from tune.trials.branch import branch_from

VALUES = {7: 0.5, 14: 0.9, 21: 0.6, 28: 0.7, 35: 1.0}


@pytest.fixture
def parent(tmp_path: Path) -> Path:
    """A run with five scored checkpoints, the best one last."""
    directory = tmp_path / "parent"
    for step, value in VALUES.items():
        save_checkpoint(
            directory / "checkpoints",
            step=step,
            attempt="a1",
            write=lambda part: save_file({"w": torch.ones(3)}, part / "w.safetensors"),
        )
        score = Score(
            name=step_name(step), step=step, n=1, metric="m", metrics={"m": value},
            intervals={"m": (0.0, 1.0)}, predictions=f"predictions/{step}.jsonl", seconds=1.0,
        )  # fmt: skip
        append_jsonl(directory / "scores.jsonl", asdict(score))
        append_jsonl(directory / score.predictions, {"id": "1"})
        append_jsonl(directory / "metrics.jsonl", {"step": step})
    return directory


def steps(run_dir: Path) -> list[int]:
    return [c.step for c in list_checkpoints(run_dir / "checkpoints")]


def test_records_up_to_the_step_its_checkpoint_and_the_best_before(parent: Path) -> None:
    child = parent.with_name("child")
    branch_from(parent, 28, child)
    assert steps(child) == [28, 14]
    assert [row["step"] for row in read_jsonl(child / "metrics.jsonl")] == [7, 14, 21, 28]
    assert [row["step"] for row in read_jsonl(child / "scores.jsonl")] == [7, 14, 21, 28]
    assert (child / "predictions/28.jsonl").is_file()
    append_jsonl(child / "metrics.jsonl", {"step": 29})
    branch_from(parent, 28, child)
    assert len(list(read_jsonl(child / "metrics.jsonl"))) == 5, "it has trained since"


def test_an_older_checkpoint_or_none_serves_if_it_is_gone_or_damaged(parent: Path) -> None:
    paths = {c.step: c.path for c in list_checkpoints(parent / "checkpoints")}
    shutil.rmtree(paths[28])
    (paths[21] / "w.safetensors").write_bytes(b"torn")
    branch_from(parent, 28, parent.with_name("older"))
    assert steps(parent.with_name("older")) == [14]
    for step in (7, 14):
        shutil.rmtree(paths[step])
    branch_from(parent, 28, parent.with_name("none"))
    assert steps(parent.with_name("none")) == []
