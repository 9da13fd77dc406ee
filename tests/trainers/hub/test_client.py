"""Errors of token, permissions and network are reported before training, each in one line."""

import os
import re
import subprocess
import sys
import time
from email.utils import formatdate
from pathlib import Path
from types import SimpleNamespace

import pytest

from datasets_src.errors import UserError
from tests.servers.hub_server import HubServer
from tests.servers.hub_store import Account
from trainers.config.schema import HubConfig
from trainers.hub import client
from trainers.hub.client import (
    Retry,
    check_hub,
    hub_client,
    read_token,
    repo_id_for,
    retrying,
)

ROOT = Path(__file__).resolve().parents[3]
FAST = Retry(tries=3, first_wait_s=0.01)


def config(repo_id: str = "tester/demo", **more: str) -> HubConfig:
    return HubConfig.model_validate({"push": "best", "hub_model_id": repo_id, **more})


def fault_of(hub_config: HubConfig) -> str:
    with pytest.raises(UserError) as caught:
        check_hub(hub_config, retry=FAST)
    (fault,) = caught.value.faults
    assert "\n" not in fault
    return fault


def test_a_good_token_makes_the_repositories(hub: HubServer) -> None:
    check_hub(config(), kinds=("adapter", "merged", "gguf"))
    assert set(hub.store.repos) == {"tester/demo", "tester/demo-merged", "tester/demo-GGUF"}
    assert all(repo["private"] for repo in hub.store.repos.values())
    check_hub(config())
    assert len(hub.store.history("tester/demo")) == 1


def test_an_organisation_of_the_user_is_an_owner(hub: HubServer) -> None:
    check_hub(config("lab/demo"))
    assert "lab/demo" in hub.store.repos


def test_without_a_push_no_request_is_made(hub: HubServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HF_TOKEN")
    check_hub(HubConfig.model_validate({}))
    assert hub.log == []


def test_a_read_only_token_is_refused(hub: HubServer) -> None:
    hub.tokens["hf_write"] = Account("tester", role="read")
    assert "is read-only; create one with the role `write`" in fault_of(config())
    assert hub.store.repos == {}


@pytest.mark.parametrize(
    ("scopes", "missing"),
    [
        ({"tester": ("repo.write",)}, None),
        ({"tester/demo": ("repo.write",)}, None),
        ({"tester": ("repo.content.read",)}, "tester/demo"),
        ({"lab": ("repo.write",)}, "tester/demo"),
        ({}, "tester/demo"),
    ],
)
def test_a_fine_grained_token_needs_repo_write(
    hub: HubServer, scopes: dict[str, tuple[str, ...]], missing: str | None
) -> None:
    hub.tokens["hf_write"] = Account("tester", role="fineGrained", scopes=scopes)
    if missing is None:
        check_hub(config())
        assert set(hub.store.repos) == {"tester/demo"}
    else:
        assert f"no `repo.write` for {missing}" in fault_of(config())


def test_an_unknown_token_is_not_retried(hub: HubServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_secret_of_old")
    fault = fault_of(config())
    assert "rejects this token (401" in fault
    assert "hf_secret_of_old" not in fault
    assert hub.count("whoami") == 1


def test_a_foreign_owner_is_named_with_the_line_to_type(hub: HubServer) -> None:
    fault = fault_of(config("other/demo"))
    assert "'other' is neither the token's user nor one of its organisations (tester, lab)" in fault
    assert fault.endswith("set hub_model_id=tester/demo")


def test_a_repository_that_cannot_be_written_is_refused(hub: HubServer) -> None:
    hub.fail(r"GET .*/auth-check/write", status=403)
    assert "tester/demo cannot be created or written" in fault_of(config())


def test_an_invalid_repository_name_is_refused(hub: HubServer) -> None:
    assert "tester/a--b" in fault_of(config("tester/a--b"))


def test_transient_errors_of_the_hub_are_retried(hub: HubServer) -> None:
    hub.fail("whoami", status=503)
    hub.fail("repos/create", status=None)
    check_hub(config(), retry=FAST)
    assert (hub.count("whoami"), hub.count("repos/create")) == (2, 2)


def test_an_unreachable_hub_is_reported(hub: HubServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    assert "http://127.0.0.1:9 cannot be reached" in fault_of(config())
    monkeypatch.setenv("HF_ENDPOINT", "huggingface.co")
    assert "huggingface.co cannot be reached" in fault_of(config())


def test_the_token_is_read_from_the_file_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("a", "b"):
        (tmp_path / name).write_text(f"hf_{name}\n")
    monkeypatch.setenv("HF_TOKEN", "hf_env")
    monkeypatch.delenv("HF_TOKEN_PATH", raising=False)
    assert read_token(config()) == "hf_env"
    monkeypatch.setenv("HF_TOKEN_PATH", str(tmp_path / "b"))
    assert read_token(config()) == "hf_b"
    assert read_token(config(hub_token_path=str(tmp_path / "a"))) == "hf_a"


@pytest.mark.parametrize("content", [None, b"", b"two words", b"\xff\xfe"])
def test_a_token_file_without_a_token(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "token"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UserError, match=f"^hub.hub_token_path: {re.escape(str(path))}: "):
        read_token(config(hub_token_path=str(path)))


def run_check(env: dict[str, str]) -> str:
    """The error of a new process, in which the client reads the environment at import."""
    code = (
        "from trainers.config.schema import HubConfig; from trainers.hub.client import check_hub;"
        "check_hub(HubConfig(push='best', hub_model_id='tester/demo'))"
    )
    kept = {key: value for key, value in os.environ.items() if not key.startswith("HF_")}
    out = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=kept | env, capture_output=True, text=True
    )
    return out.stderr.strip().splitlines()[-1]


def test_no_token_at_all(hub: HubServer, tmp_path: Path) -> None:
    fault = run_check({"HF_HOME": str(tmp_path), "HF_ENDPOINT": hub.endpoint})
    assert "no Hub token is set and push is on" in fault
    assert hub.log == []


def test_offline_mode_is_named(hub: HubServer) -> None:
    env = {"HF_TOKEN": "hf_write", "HF_HUB_OFFLINE": "1", "HF_ENDPOINT": hub.endpoint}
    assert "HF_HUB_OFFLINE: set, so nothing can be pushed" in run_check(env)


def test_names_of_the_repositories() -> None:
    names = [repo_id_for(config(), kind) for kind in ("adapter", "checkpoint", "merged", "gguf")]
    assert names == ["tester/demo", "tester/demo", "tester/demo-merged", "tester/demo-GGUF"]


@pytest.mark.parametrize(
    ("headers", "wait_s"),
    [
        ({"Retry-After": "1"}, 1.0),
        ({"ratelimit": '"api";r=0;t=1'}, 1.0),
        ({"ratelimit": '"api";r=7;t=30'}, FAST.first_wait_s),
        ({}, FAST.first_wait_s),
    ],
)
def test_a_retry_waits_as_long_as_the_hub_asks(
    hub: HubServer, monkeypatch: pytest.MonkeyPatch, headers: dict[str, str], wait_s: float
) -> None:
    hub.fail("whoami", status=429, headers=headers)
    waits: list[float] = []
    monkeypatch.setattr(client, "time", SimpleNamespace(sleep=waits.append, time=time.time))
    retrying(hub_client(config()).whoami, retry=FAST)
    assert waits == [wait_s]


def test_a_requested_wait_beyond_the_limit_gives_up(hub: HubServer) -> None:
    hub.fail("whoami", status=429, headers={"Retry-After": formatdate(time.time() + 900)})
    assert re.search(r"too many requests \(429\); wait (900|8\d\d) s", fault_of(config()))
    assert hub.count("whoami") == 1
