"""Cores and memory available to this process, and its clock."""

import os
import time
from pathlib import Path

TIME_FORMAT = "%Y-%m-%dT%H:%M:%SZ"


def available_bytes() -> int:
    """Memory that this process may still allocate: the machine's, or its container's."""
    with Path("/proc/meminfo").open(encoding="ascii") as file:
        fields = dict(line.split(":", 1) for line in file)
    free = int(fields["MemAvailable"].split()[0]) * 1024
    limit, used = (_number(Path(f"/sys/fs/cgroup/memory.{n}")) for n in ("max", "current"))
    return free if limit is None or used is None else min(free, limit - used)


def num_cores() -> int:
    """Cores that this process may run on."""
    return len(os.sched_getaffinity(0))


def utc_now() -> str:
    """The time in UTC as records keep it: "2026-01-31T08:00:00Z"."""
    return time.strftime(TIME_FORMAT, time.gmtime())


def _number(path: Path) -> int | None:
    try:
        return int(path.read_text())
    except (OSError, ValueError):  # no such control group, or "max"
        return None
