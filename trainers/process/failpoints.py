"""Failpoints: named places in the code where a test makes a process fail; inactive by default.

GALLIPATO_FAILPOINTS="after_shard_write:step=8:rank=1:SIGKILL,during_evaluation:SIGSTOP"
GALLIPATO_FAILPOINTS_DIR=/tmp/fired

A failpoint is a name, conditions (step, rank) and an action: a signal to this process, `raise`,
`enospc`, `allocate` (unbounded memory) or `sleep=5`. It fires once, recorded as a file in the
directory, so that the successor of a killed process does not fire it again. With `always` it fires
whenever its conditions hold.
"""

import errno
import os
import signal
import time
from pathlib import Path

SPECS = "GALLIPATO_FAILPOINTS"
FOLDER = "GALLIPATO_FAILPOINTS_DIR"
CHUNK_BYTES = 64 * 2**20


class FailpointError(RuntimeError):
    """Raised by the action `raise`, as a bug in user code would be."""


def fail_at(name: str, *, step: int | None = None, rank: int = 0) -> None:
    """Fail here if the environment names this failpoint at this step and rank."""
    for spec in filter(None, os.environ.get(SPECS, "").split(",")):
        wanted, *fields = spec.split(":")
        if wanted == name and _holds(fields, step=step, rank=rank) and _first_time(spec, fields):
            _fire(name, fields[-1])


def failpoint_environment() -> dict[str, str]:
    """The environment variables to set for processes on other nodes."""
    return {key: os.environ[key] for key in (SPECS, FOLDER) if key in os.environ}


def _holds(fields: list[str], *, step: int | None, rank: int) -> bool:
    place = {"step": step, "rank": rank}
    conditions = [field.split("=") for field in fields if field.split("=")[0] in place]
    return all(place[key] == int(value) for key, value in conditions)


def _first_time(spec: str, fields: list[str]) -> bool:
    if "always" in fields:
        return True
    mark = Path(os.environ[FOLDER]) / spec.replace(":", "_").replace("=", "-")
    try:
        mark.touch(exist_ok=False)
    except FileExistsError:
        return False
    return True


def _fire(name: str, action: str) -> None:
    if action.startswith("SIG"):
        os.kill(os.getpid(), signal.Signals[action])
        time.sleep(1)  # another thread may take the signal a moment later
    elif action == "raise":
        raise FailpointError(f"failpoint {name}")
    elif action == "enospc":
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    elif action == "allocate":
        kept = []
        while True:
            kept.append(bytearray(os.urandom(1)) * CHUNK_BYTES)
            time.sleep(0.02)
    elif action.startswith("sleep="):
        time.sleep(float(action.removeprefix("sleep=")))
    else:
        raise AssertionError(f"unknown failpoint action {action!r}")
