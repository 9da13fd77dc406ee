"""A cluster that cannot be joined; workers' environment; a local Ray without Ray Data's actors."""

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import ray
import ray.data

from datasets_src.errors import UserError
from jobs.common import ray_session
from tests.servers.ray_head import free_port

ROOT = Path(__file__).resolve().parents[3]


def test_a_head_node_that_accepts_nothing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    address = f"127.0.0.1:{free_port()}"
    monkeypatch.setenv("RAY_ADDRESS", address)
    monkeypatch.setattr(ray_session, "HEAD_LIMIT_S", 0.2)
    monkeypatch.setattr(ray_session.ray, "is_initialized", lambda: False)
    with pytest.raises(UserError, match=rf"RAY_ADDRESS: {address} accepts no conn.*unset RAY_"):
        ray_session.start_ray()


@pytest.fixture
def silent_server() -> Iterator[str]:
    """Accepts connections and never answers."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen(50)
        yield f"127.0.0.1:{server.getsockname()[1]}"


def test_a_head_node_that_never_answers_is_one_line(silent_server: str) -> None:
    code = (
        "from jobs.common import cli, ray_session\n"
        "ray_session.INIT_LIMIT_S = 3\n"
        "cli.run_verb(lambda argv: ray_session.start_ray() or 0)\n"
    )
    ran = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env=os.environ | {"RAY_ADDRESS": silent_server},
        capture_output=True,
        text=True,
    )
    [line] = [line for line in ran.stderr.splitlines() if "error" in line.lower()]
    assert line.startswith(
        f"error: RAY_ADDRESS: {silent_server} cannot be joined (TimeoutError: no"
    )
    assert ran.returncode == 2 and "Traceback" not in ran.stderr


def test_a_local_ray_that_fails_to_start_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    tries = []

    def fails(**_: object) -> None:
        tries.append(1)
        raise Exception("The current node timed out during startup.\nThis could happen because")

    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setattr(ray_session.ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray_session.ray, "init", fails)
    with pytest.raises(UserError, match=r"^Ray: the local Ray did not start \(Exception: The"):
        ray_session.start_ray()
    assert len(tries) == ray_session.LOCAL_STARTS


def test_a_local_ray_that_is_slow_to_start_is_tried_again_but_no_other_failure(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    failures = [Exception("The current node timed out during startup. This"), ValueError("port")]

    def init(**_: object) -> None:
        if failures:
            raise failures.pop(0)

    monkeypatch.setattr(ray_session.ray, "init", init)
    with pytest.raises(ValueError, match="port"):
        ray_session.start_local_ray()
    ray_session.start_local_ray()
    assert failures == []


def test_workers_of_a_cluster_get_the_openmp_policy_unless_the_job_sets_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("RAY_JOB_CONFIG_JSON_ENV_VAR", raising=False)
    monkeypatch.setenv("OMP_WAIT_POLICY", "PASSIVE")
    ours = {"env_vars": {"OMP_WAIT_POLICY": "PASSIVE"}}
    assert ray_session._cluster_environment() == ours
    for runtime_env, expected in (
        (None, ours),
        ({"env_vars": {"A": "1"}}, ours),
        ({"env_vars": {"OMP_WAIT_POLICY": "ACTIVE"}}, None),
    ):
        job = json.dumps({"runtime_env": runtime_env})
        monkeypatch.setenv("RAY_JOB_CONFIG_JSON_ENV_VAR", job)
        assert ray_session._cluster_environment() == expected


def test_ray_data_actors_are_killed_and_come_back(
    ray_local: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def left() -> set[tuple[str, str]]:
        named = ray.util.list_named_actors(all_namespaces=True)
        return {(each["name"], each["namespace"]) for each in named}

    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    for _ in range(2):
        assert ray.data.range(3).map_batches(lambda batch: batch).count() == 3
        assert left() >= set(ray_session.RAY_DATA_ACTORS)
        ray_session.end_ray_data()
        assert not left() & set(ray_session.RAY_DATA_ACTORS)
    ray_session.end_ray_data()
