"""Join the cluster we are sent to, or start a local Ray: once per process.

start_ray()      # RAY_ADDRESS set (by `ray job submit` or the user): join; else a local Ray
"""

import logging
import os
from pathlib import Path

import ray

ROOT = Path(__file__).resolve().parents[1]


def start_ray() -> None:
    """Connect once. Workers find our modules: the working directory of the job, or this tree."""
    if ray.is_initialized():
        return
    # Ray's own progress and deprecation chatter hides our lines; warnings still come through.
    os.environ.setdefault("RAY_TRAIN_ENABLE_STATE_TRACKING", "0")
    address = os.environ.get("RAY_ADDRESS")
    ray.init(
        address=address or "local",
        include_dashboard=None if address else False,
        # In a job the runtime environment is set by the submission; two would not merge.
        runtime_env=None if address else {"env_vars": {"PYTHONPATH": str(ROOT)}},
        logging_level=logging.WARNING,
        log_to_driver=False,
    )
