"""Helpers of the outbox tests: a folder to push, enqueue and drain in one line."""

import threading
import time
from collections.abc import Callable
from pathlib import Path

from tests.servers.hub_server import HubServer
from trainers.config.schema import HubConfig
from trainers.hub.client import Retry
from trainers.hub.outbox import PushResult, drain, enqueue

HUB = HubConfig.model_validate({"push": "best", "hub_model_id": "tester/demo"})
FAST = Retry(first_wait_s=0.01)
COMMIT_MAIN = r"POST .*/commit/main"
COMMIT_STAGING = r"POST .*/commit/outbox-"


def make_folder(path: Path, *, num_shards: int = 1, fill: bytes = b"w") -> Path:
    path.mkdir(parents=True, exist_ok=True)
    for i in range(num_shards):
        (path / f"model-{i}-of-{num_shards}.safetensors").write_bytes(fill * 3000 + bytes([i]))
    (path / "config.json").write_bytes(b'{"a": "%s"}' % fill)
    (path / "README.md").write_text("---\nlicense: other\n---\n# Demo\n")
    return path


def put(run_dir: Path, folder: Path) -> str:
    return enqueue(run_dir, kind="adapter", folder=folder, repo_id="tester/demo", message="m").name


def push(run_dir: Path, retry: Retry = FAST) -> PushResult:
    (result,) = drain(run_dir, hub=HUB, retry=retry)
    return result


def paths_of(hub: HubServer, branch: str = "main") -> set[str]:
    tree = hub.store.history("tester/demo", branch)[0]["tree"]
    return set(tree) - {".gitattributes"}


def when_seen(hub: HubServer, pattern: str, act: Callable[[], object]) -> threading.Thread:
    """Call `act` once a request has matched."""

    def wait() -> None:
        while not hub.count(pattern):
            time.sleep(0.005)
        act()

    thread = threading.Thread(target=wait, daemon=True)
    thread.start()
    return thread
