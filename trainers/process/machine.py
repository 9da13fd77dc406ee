"""Cores and memory that a process on this machine may use."""

import os
from pathlib import Path


def available_bytes() -> int:
    """Memory that a process here may still take: the machine's, or its container's."""
    with Path("/proc/meminfo").open(encoding="ascii") as file:
        told = dict(line.split(":", 1) for line in file)
    free = int(told["MemAvailable"].split()[0]) * 1024
    limit, used = (_number(Path(f"/sys/fs/cgroup/memory.{n}")) for n in ("max", "current"))
    return free if limit is None or used is None else min(free, limit - used)


def num_cores() -> int:
    """Cores that a process here may run on."""
    return len(os.sched_getaffinity(0))


def _number(path: Path) -> int | None:
    try:
        return int(path.read_text())
    except (OSError, ValueError):  # no such control group, or "max"
        return None
