"""Fixtures of the trainers' tests: a Hub of our own that the environment points to, and object
stores behind a proxy that breaks calls."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.servers.hub_server import HubServer
from tests.servers.object_stores import Bucket, azure_server, new_bucket, s3_server


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


@pytest.fixture(scope="session")
def store_urls() -> Iterator[dict[str, str]]:
    """The object stores that this machine can run, started once."""
    with s3_server() as s3, azure_server() as azure:
        yield {"s3": s3, "azure": azure}


@pytest.fixture(params=["s3", "azure"])
def bucket(
    request: pytest.FixtureRequest,
    store_urls: dict[str, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Bucket]:
    """An empty bucket of each kind behind a proxy, with credentials in the environment."""
    kind: str = request.param
    if not store_urls[kind].startswith("http"):
        pytest.skip(store_urls[kind])
    found = new_bucket(kind, store_urls[kind])
    for name, value in found.environ.items():
        monkeypatch.setenv(name, value)
    yield found
    found.proxy.close()
