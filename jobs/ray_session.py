"""Join the cluster we are sent to, or start a local Ray: once per process.

start_ray()      # RAY_ADDRESS set (by `ray job submit` or the user): join; else a local Ray
"""

import logging
import os
from pathlib import Path

import ray

ROOT = Path(__file__).resolve().parents[1]
# What Ray counts for its dashboard, which a local one has not; it takes a tenth of a core.
UNREAD = {
    "RAY_enable_metrics_collection": "0",
    "RAY_event_stats": "0",
    "RAY_task_events_report_interval_ms": "0",
}


def start_ray() -> None:
    """Connect once. Workers find our modules: the working directory of the job, or this tree."""
    if ray.is_initialized():
        return
    address = os.environ.get("RAY_ADDRESS")
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


def _hide_token() -> None:
    """Ray writes its token readable for everyone on the machine."""
    token = Path.home() / ".ray" / "auth_token"
    if token.is_file() and token.stat().st_uid == os.getuid():
        token.chmod(0o600)
