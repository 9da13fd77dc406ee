"""Pushes that fail: nothing lost, nothing twice, nothing half, nobody overwritten."""

import fcntl
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from datasets_src.errors import UserError
from tests.outbox_tools import (
    COMMIT_MAIN,
    COMMIT_STAGING,
    HUB,
    make_folder,
    paths_of,
    push,
    put,
    when_seen,
)
from tests.servers.hub_routes import Hub
from tests.servers.hub_server import HubServer
from tests.servers.hub_store import Store, Tree
from trainers.hub.client import Retry
from trainers.hub.outbox import drain, items

ROOT = Path(__file__).resolve().parents[3]


@pytest.mark.parametrize("where", [COMMIT_STAGING, COMMIT_MAIN])
@pytest.mark.parametrize(("status", "after"), [(500, False), (None, False), (None, True)])
def test_a_commit_that_fails_or_whose_answer_is_lost_is_made_once(
    hub: HubServer, run_dir: Path, tmp_path: Path, where: str, status: int | None, after: bool
) -> None:
    put(run_dir, make_folder(tmp_path / "out"))
    hub.fail(where, status=status, after=after)
    assert push(run_dir).state == "pushed"
    assert len(hub.store.history("tester/demo")) == 2
    assert hub.count(where) == (1 if after else 2)


def test_retry_after_is_obeyed(hub: HubServer, run_dir: Path, tmp_path: Path) -> None:
    put(run_dir, make_folder(tmp_path / "out"))
    hub.fail(COMMIT_MAIN, status=429, headers={"Retry-After": "1"})
    start = time.monotonic()
    assert push(run_dir).state == "pushed"
    assert time.monotonic() - start >= 1.0


def test_an_hour_asked_for_leaves_the_item_for_later(
    hub: HubServer, run_dir: Path, tmp_path: Path
) -> None:
    put(run_dir, make_folder(tmp_path / "out"))
    hub.fail(COMMIT_MAIN, status=429, headers={"Retry-After": "3600"})
    assert push(run_dir).state == "failed"
    assert hub.count(COMMIT_MAIN) == 1
    assert push(run_dir).state == "pushed"
    (item,) = items(run_dir)
    assert (item.tries, item.error) == (2, None)


@pytest.mark.parametrize("status", [401, 403])
def test_a_refusal_is_not_retried(
    hub: HubServer, run_dir: Path, tmp_path: Path, status: int
) -> None:
    put(run_dir, make_folder(tmp_path / "out"))
    hub.fail(COMMIT_STAGING, status=status, times=9)
    result = push(run_dir)
    assert not result.ok
    assert str(status) in str(result.error)
    assert hub.count(COMMIT_STAGING) == 1
    (item,) = items(run_dir)
    assert (item.state, item.error) == ("pending", result.error)


def test_tries_are_bounded(hub: HubServer, run_dir: Path, tmp_path: Path) -> None:
    put(run_dir, make_folder(tmp_path / "out"))
    hub.fail(COMMIT_STAGING, status=503, times=99)
    assert push(run_dir, Retry(tries=4, first_wait_s=0.01)).state == "failed"
    assert hub.count(COMMIT_STAGING) == 4
    assert paths_of(hub) == set()


def test_no_token_keeps_the_item(
    hub: HubServer, run_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(run_dir, make_folder(tmp_path / "out"))
    monkeypatch.setenv("HF_TOKEN_PATH", str(tmp_path / "missing"))
    assert "HF_TOKEN_PATH" in str(push(run_dir).error)
    monkeypatch.delenv("HF_TOKEN_PATH")
    assert push(run_dir).state == "pushed"


class Forgetful(Store):
    """A Hub that answers 200 to a commit and loses a file of it."""

    def commit(self, repo_id: str, branch: str, tree: Tree, *, title: str) -> str:
        kept = {path: blob for path, blob in tree.items() if path != "config.json"}
        return super().commit(repo_id, branch, kept, title=title)


def test_what_the_hub_lost_is_seen_before_it_is_published(
    hub: HubServer, run_dir: Path, tmp_path: Path
) -> None:
    hub.store = Forgetful(tmp_path / "forgetful")
    hub.hub = Hub(hub.store, hub.endpoint, 1000)
    put(run_dir, make_folder(tmp_path / "out"))
    assert "differs from what was sent: config.json" in str(push(run_dir).error)
    assert hub.count(COMMIT_MAIN) == 0


@pytest.mark.parametrize(
    ("pattern", "status"), [(COMMIT_STAGING, None), (r"POST .*/preupload/main", 503)]
)
def test_a_second_writer_is_not_overwritten(
    hub: HubServer, run_dir: Path, tmp_path: Path, pattern: str, status: int | None
) -> None:
    def interfere() -> None:
        with hub.lock:
            tree = {"config.json": hub.store.put(b"theirs")}
            hub.store.commit("tester/demo", "main", tree, title="theirs")

    put(run_dir, make_folder(tmp_path / "out"))
    # The fault makes our side wait half a second or more, in which the other one commits.
    hub.fail(pattern, status=status)
    other = when_seen(hub, pattern, interfere)
    result = push(run_dir, Retry(first_wait_s=0.5))
    other.join()
    theirs = hub.store.history("tester/demo")[0]
    assert theirs["title"] == "theirs"
    assert f"another writer committed {theirs['id'][:8]}" in str(result.error)
    assert push(run_dir).state == "pushed"
    assert [c["title"] for c in hub.store.history("tester/demo")[:2]] == ["m", "theirs"]


@pytest.mark.parametrize("after", [False, True])
def test_412_is_read_back_before_it_is_believed(
    hub: HubServer, run_dir: Path, tmp_path: Path, after: bool
) -> None:
    put(run_dir, make_folder(tmp_path / "out"))
    hub.fail(COMMIT_MAIN, status=412, after=after)
    assert push(run_dir).state == ("pushed" if after else "failed")
    assert len(hub.store.history("tester/demo")) == (2 if after else 1)


def test_one_drain_at_a_time(hub: HubServer, run_dir: Path, tmp_path: Path) -> None:
    put(run_dir, make_folder(tmp_path / "out"))
    with (run_dir / "outbox" / ".lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(UserError, match="another process is pushing this run"):
            drain(run_dir, hub=HUB)
    assert push(run_dir).state == "pushed"


def publish(run_dir: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "jobs.publish", str(run_dir)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)


def test_a_process_killed_in_the_middle_of_a_push_loses_nothing(
    hub: HubServer, run_dir: Path, tmp_path: Path
) -> None:
    put(run_dir, make_folder(tmp_path / "out", num_shards=2))
    # The commit on the staging branch is made, its answer lost: the process sleeps a second.
    hub.fail(COMMIT_STAGING, status=None, after=True)
    command = [sys.executable, "-m", "jobs.publish", str(run_dir)]
    child = subprocess.Popen(command, cwd=ROOT)
    when_seen(hub, COMMIT_STAGING, lambda: os.kill(child.pid, signal.SIGKILL)).join(30)
    assert child.wait() == -signal.SIGKILL
    assert paths_of(hub) == set()
    again = publish(run_dir)
    assert again.returncode == 0, again.stderr
    assert again.stdout.startswith("pushed")
    assert len(paths_of(hub)) == 4
    assert set(hub.store.repos["tester/demo"]["refs"]) == {"main"}


def test_publish_says_what_failed_and_exits_1(
    hub: HubServer, run_dir: Path, tmp_path: Path
) -> None:
    put(run_dir, make_folder(tmp_path / "out"))
    hub.fail(COMMIT_STAGING, status=403)
    out = publish(run_dir)
    assert out.returncode == 1
    assert "failed     adapter    tester/demo main" in out.stdout
    assert "1 of 1 not pushed" in out.stdout


def test_publish_of_no_run_exits_2(tmp_path: Path) -> None:
    out = publish(tmp_path / "nothing")
    assert (out.returncode, out.stdout) == (2, "")
    assert out.stderr.count("\n") == 1
    assert "not a run directory" in out.stderr
