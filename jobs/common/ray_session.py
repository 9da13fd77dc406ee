"""Join the cluster we are sent to, or start a local Ray: once per process.

start_ray()      # RAY_ADDRESS set (by `ray job submit` or the user): join; else a local Ray
end_ray_data()   # when the rows are tokenised
"""

import logging
import os
import re
import time
from contextlib import suppress
from pathlib import Path

import ray

from datasets_src.errors import UserError
from trainers.supervision.head_node import answers

ROOT = Path(__file__).resolve().parents[2]
HOST_PORT = re.compile(r"[\w.-]+:\d+")
HEAD_LIMIT_S = 10.0
# What Ray counts for its dashboard, which a local one has not; it takes a tenth of a core.
UNREAD = {
    "RAY_enable_metrics_collection": "0",
    "RAY_event_stats": "0",
    "RAY_task_events_report_interval_ms": "0",
}
# Name and namespace of the actors that it leaves for the next data set.
RAY_DATAS_OWN = (
    ("datasets_stats_actor", "_dataset_stats_actor"),
    ("AutoscalingCoordinator", "AutoscalingCoordinator"),
)


def start_ray() -> None:
    """Connect once. Workers find our modules: the working directory of the job, or this tree."""
    if ray.is_initialized():
        return
    address = os.environ.get("RAY_ADDRESS")
    if address and HOST_PORT.fullmatch(address):
        _wait_for_head(address)
    if not address:
        # Not as a runtime environment: Ray would start each worker process anew for it.
        path = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
        os.environ["PYTHONPATH"] = os.pathsep.join(path)
        for name, value in UNREAD.items():
            os.environ.setdefault(name, value)
    ray.init(
        address=address or "local",
        include_dashboard=None if address else False,
        logging_level=logging.ERROR,  # it warns of the token that it makes by default
        log_to_driver=False,
    )
    _hide_token()


def end_ray_data() -> None:
    """End what Ray Data leaves in a local Ray: beside training, 200 MB each and no peace.

    In a cluster, others may be using them.
    """
    if os.environ.get("RAY_ADDRESS"):
        return
    for name, namespace in RAY_DATAS_OWN:
        with suppress(ValueError):  # there is no such actor: nothing was tokenised
            ray.kill(ray.get_actor(name, namespace=namespace))


def _wait_for_head(address: str) -> None:
    """Ray itself asks without end where nobody answers.

    Raises:
        UserError: nobody has for HEAD_LIMIT_S.
    """
    deadline = time.monotonic() + HEAD_LIMIT_S
    while not answers(address):
        if time.monotonic() > deadline:
            raise UserError(
                f"RAY_ADDRESS: {address} has not answered for {HEAD_LIMIT_S:.0f} s; start the "
                "head, name another one, or unset RAY_ADDRESS for a local Ray"
            )
        time.sleep(0.5)


def _hide_token() -> None:
    """Ray writes its token readable for everyone on the machine."""
    token = Path.home() / ".ray" / "auth_token"
    if token.is_file() and token.stat().st_uid == os.getuid():
        token.chmod(0o600)
