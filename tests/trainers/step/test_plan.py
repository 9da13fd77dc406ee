"""The optimizer steps of a config, and those that save a checkpoint."""

from pathlib import Path

import pyarrow as pa
import pytest

from datasets_src.prepared.store import Split, SplitWriter, encode_example
from datasets_src.types import Example
from trainers.config.schema import Config
from trainers.step.plan import make_plan, save_steps


@pytest.fixture
def train(tmp_path: Path) -> Split:
    """24 rows; rows of equal number modulo 6 share a prefix."""
    writer = SplitWriter(tmp_path / "train.parquet", {})
    rows = [
        {
            "id": str(i),
            "group": str(i),
            "length": 6,
            "prompt_len": 5,
            "input_ids": [i % 6, 9, 9, 9, i, 7],
            "example": encode_example(Example(str(i), str(i), {}, "x"), {})[0],
        }
        for i in range(24)
    ]
    writer.write(pa.Table.from_pylist(rows))
    writer.close()
    return Split(tmp_path / "train.parquet", "train")


def config(**sections: object) -> Config:
    raw = {"run_name": "x", "data": {"train_file": "x.jsonl"}} | sections
    return Config.model_validate(raw)


def test_grouped_sampling_puts_rows_of_one_prefix_into_one_step(train: Split) -> None:
    settings = {"train_batch_size": 4, "num_train_epochs": 2, "sampling_group_size": 4}
    grouped = make_plan(config(train=settings | {"sampling": "grouped"}), train)
    assert all(len({row % 6 for row in step.rows}) == 1 for step in grouped)
    shuffled = make_plan(config(train=settings), train)
    assert any(len({row % 6 for row in step.rows}) > 1 for step in shuffled)
    for plan in (grouped, shuffled):
        assert len(plan) == 12
        assert sorted(row for step in plan[:6] for row in step.rows) == list(range(24))


@pytest.mark.parametrize(
    ("checkpoint", "steps"),
    [
        ({"save_strategy": "epoch"}, {5, 10, 13}),
        ({"save_strategy": "steps", "save_steps": 4}, {4, 8, 12, 13}),
    ],
)
def test_the_last_step_always_saves(
    train: Split, checkpoint: dict[str, object], steps: set[int]
) -> None:
    made = config(train={"train_batch_size": 5}, checkpoint=checkpoint)
    assert save_steps(made, train, 13) == steps
