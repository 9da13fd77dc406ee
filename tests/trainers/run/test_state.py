"""Who may write a run's directory, and with which settings."""

import shutil
from pathlib import Path

import pytest

from datasets_src.errors import UserError
from tests.trainers.small_run import config_for
from trainers.run.state import RunState


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
    with pytest.raises(UserError, match="data: dddddddddddddddd -> eeeeeeeeeeeeeeee"):
        RunState.open(config, data_hash="e" * 64, model_dir=pocket)
    other = shutil.copytree(pocket, tmp_path / "base")
    with (other / "config.json").open("a") as file:
        file.write(" ")
    with pytest.raises(UserError, match=r"base: config.json with other bytes"):
        RunState.open(config, data_hash="d" * 64, model_dir=other)
    scaled = config.model_copy(
        update={"scaling": config.scaling.model_copy(update={"num_workers": 1})}
    )
    with RunState.open(scaled, data_hash="d" * 64, model_dir=pocket) as again:
        assert again.record["status"] == "finished"
