"""Named places in our own code where a test makes a process fail; without the variable, nothing.

GALLIPATO_FAILPOINTS="after_shard_write:step=8:rank=1:SIGKILL,during_evaluation:SIGSTOP"
GALLIPATO_FAILPOINTS_DIR=/tmp/went-off

A failpoint is a name, conditions on the place, and what happens there: a signal to this process,
`raise`, `enospc`, `allocate` (memory without end) or `sleep=5`. It goes off once; what went off is
a file in the directory, so that it is remembered by the process that comes after a killed one.
With `always` it goes off whenever its conditions hold.
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
    """What `raise` raises: a fault of the code, as a user's bug is."""


def fail_at(name: str, *, step: int | None = None, rank: int = 0) -> None:
    """Fail here if the environment says so of `name` at this step and rank."""
    for spec in filter(None, os.environ.get(SPECS, "").split(",")):
        wanted, *words = spec.split(":")
        if wanted == name and _holds(words, step=step, rank=rank) and _first_time(spec, words):
            _go_off(name, words[-1])


def failpoint_environment() -> dict[str, str]:
    """The variables, for processes on other nodes."""
    return {key: os.environ[key] for key in (SPECS, FOLDER) if key in os.environ}


def _holds(words: list[str], *, step: int | None, rank: int) -> bool:
    place = {"step": step, "rank": rank}
    conditions = [word.split("=") for word in words if word.split("=")[0] in place]
    return all(place[key] == int(value) for key, value in conditions)


def _first_time(spec: str, words: list[str]) -> bool:
    if "always" in words:
        return True
    mark = Path(os.environ[FOLDER]) / spec.replace(":", "_").replace("=", "-")
    try:
        mark.touch(exist_ok=False)
    except FileExistsError:
        return False
    return True


def _go_off(name: str, action: str) -> None:
    if action.startswith("SIG"):
        os.kill(os.getpid(), signal.Signals[action])
        time.sleep(1)  # a signal to the process may be taken by another thread a moment later
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
