"""Fixtures of the trainers' tests: a Hub of our own that the environment points to."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.hub_server import HubServer


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[HubServer]:
    """An empty Hub with one user, `tester` of the organisation `lab`, whose token is set."""
    server = HubServer(tmp_path / "hub")
    monkeypatch.setenv("HF_ENDPOINT", server.endpoint)
    monkeypatch.setenv("HF_TOKEN", "hf_write")
    monkeypatch.delenv("HF_TOKEN_PATH", raising=False)
    yield server
    server.close()


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    """A run of a finished training: its config pushes to tester/demo."""
    folder = tmp_path / "runs" / "demo"
    folder.mkdir(parents=True)
    config = "run_name: demo\ndata: {train_file: x.jsonl}\n"
    config += "hub: {push: best, hub_model_id: tester/demo}\n"
    (folder / "config.yaml").write_text(config)
    return folder
