"""Sweeps for tests: the shipped config with another `sweep:` section, read as a user's is."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from tune.config import Sweep, load_sweep

ROOT = Path(__file__).resolve().parents[2]
SweepOf = Callable[..., Sweep]


@pytest.fixture
def sweep_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SweepOf:
    """sweep_of({"lora_r": [8, 16]}, lr_scheduler_type="cosine"): a sweep, with overrides."""
    monkeypatch.chdir(ROOT)

    def make(section: dict[str, Any], **overrides: Any) -> Sweep:
        raw = yaml.safe_load((ROOT / "jobs/configs/sweep_text2sql.yaml").read_text())
        raw |= {"sweep": section, "output_dir": str(tmp_path / "runs")}
        path = tmp_path / "sweep.yaml"
        path.write_text(yaml.safe_dump(raw))
        return load_sweep(path, [f"{key}={yaml.safe_dump(v)}" for key, v in overrides.items()])

    return make
