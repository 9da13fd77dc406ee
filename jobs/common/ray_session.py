"""Join the cluster of RAY_ADDRESS, or start a local Ray: once per process.

start_ray()      # RAY_ADDRESS set (by `ray job submit` or the user): join; else a local Ray
end_ray_data()   # when the rows are tokenised
"""

import json
import logging
import os
import re
import time
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import ray

from datasets_src.errors import UserError
from trainers.process.background import Background
from trainers.supervision.head_node import answers

ROOT = Path(__file__).resolve().parents[2]
OPENMP = "OMP_WAIT_POLICY"
HOST_PORT = re.compile(r"[\w.-]+:\d+")
HEAD_LIMIT_S = 10.0
INIT_LIMIT_S = 90.0
LOCAL_STARTS, NODE_TIMED_OUT = 4, "node timed out during startup"
# Metrics for a dashboard, which a local Ray does not have; they take a tenth of a core.
NO_METRICS = {
    "RAY_enable_metrics_collection": "0",
    "RAY_event_stats": "0",
    "RAY_task_events_report_interval_ms": "0",
}
# Name and namespace of the actors that Ray Data keeps for the next dataset.
RAY_DATA_ACTORS = (
    ("datasets_stats_actor", "_dataset_stats_actor"),
    ("AutoscalingCoordinator", "AutoscalingCoordinator"),
)


def start_ray() -> None:
    """Connect once. Workers import our modules from the job's working directory, or from this tree.

    Raises:
        UserError: Ray does not start, or the head node does not answer.
    """
    if ray.is_initialized():
        return
    address = os.environ.get("RAY_ADDRESS")
    if address and HOST_PORT.fullmatch(address):
        _wait_for_head(address)
    if not address:
        # Not as a runtime environment: Ray would start new worker processes for it.
        path = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
        os.environ["PYTHONPATH"] = os.pathsep.join(path)
        for name, value in NO_METRICS.items():
            os.environ.setdefault(name, value)
    options: dict[str, Any] = {
        "include_dashboard": None if address else False,
        "logging_level": logging.ERROR,  # it warns of the token that it creates by default
        "log_to_driver": False,
    }
    with _StartError(address):
        if address:
            _join(address, options)
        else:
            start_local_ray(**options)
    _hide_token()


def start_local_ray(**options: Any) -> None:
    """`ray.init` of a local Ray, in this thread: its processes are killed with the one that starts
    them. Ray allows its node 30 s to start, too few on a busy machine, so it is tried again."""
    for attempt in range(1, LOCAL_STARTS + 1):
        try:
            ray.init(address="local", **options)
            return
        except Exception as error:  # Ray raises no subclass
            if NODE_TIMED_OUT not in str(error) or attempt == LOCAL_STARTS:
                raise


def _join(address: str, options: dict[str, Any]) -> None:
    """In the background: ray.init retries for minutes if the head node accepts and never answers.

    Raises:
        TimeoutError: after INIT_LIMIT_S.
        BaseException: of ray.init.
    """
    joining = Background(
        partial(ray.init, address=address, runtime_env=_cluster_environment(), **options)
    )
    if not joining.wait(INIT_LIMIT_S):
        raise TimeoutError(f"no answer for {INIT_LIMIT_S:g} s")
    if joining.error is not None:
        raise joining.error


class _StartError:
    """Turns an exception of the block, of which Ray has many kinds, into a UserError."""

    def __init__(self, address: str | None) -> None:
        self._address = address

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, Exception):
            raise UserError(_not_started(self._address, error)) from error


def _cluster_environment() -> dict[str, Any] | None:
    """For worker processes whose raylet was not started by us (see jobs/common/cli.py).

    Ray refuses a variable that the job's own runtime environment sets too: then that one applies.
    """
    job = json.loads(os.environ.get("RAY_JOB_CONFIG_JSON_ENV_VAR", "{}"))
    if OPENMP in (job.get("runtime_env") or {}).get("env_vars", {}):
        return None
    return {"env_vars": {OPENMP: os.environ.get(OPENMP, "PASSIVE")}}


def _not_started(address: str | None, error: Exception) -> str:
    reason = " ".join(f"{type(error).__name__}: {error}".split())[:300]
    if address:
        return (
            f"RAY_ADDRESS: {address} cannot be joined ({reason}); check `ray status` on the head "
            "node, name another one, or unset RAY_ADDRESS for a local Ray"
        )
    return (
        f"Ray: the local Ray did not start ({reason}); free CPUs, memory and space in /tmp, then "
        "run the same command again"
    )


def end_ray_data() -> None:
    """Kill the actors that Ray Data keeps in a local Ray: 200 MB each, never idle.

    On a cluster, others may be using them.
    """
    if os.environ.get("RAY_ADDRESS"):
        return
    for name, namespace in RAY_DATA_ACTORS:
        with suppress(ValueError):  # no such actor: nothing was tokenised
            ray.kill(ray.get_actor(name, namespace=namespace))


def _wait_for_head(address: str) -> None:
    """Wait until the head node accepts connections; Ray itself would retry without a limit.

    Raises:
        UserError: after HEAD_LIMIT_S.
    """
    deadline = time.monotonic() + HEAD_LIMIT_S
    while not answers(address):
        if time.monotonic() > deadline:
            raise UserError(
                f"RAY_ADDRESS: {address} accepts no connection (waited {HEAD_LIMIT_S:g} s); start "
                "the head node, name another one, or unset RAY_ADDRESS for a local Ray"
            )
        time.sleep(0.5)


def _hide_token() -> None:
    """Ray writes its token readable by every user of the machine."""
    token = Path.home() / ".ray" / "auth_token"
    if token.is_file() and token.stat().st_uid == os.getuid():
        token.chmod(0o600)
