"""The file of a lease, and the process that it names.

lease/000007.json  {"number": 7, "nonce": "3f2a...", "host": "node-a", "kernel": "9b1c... pid:[4]",
                    "pid": 123, "pid_started": 8812, "taken_at": "2026-11-02T10:00:00Z",
                    "beat": 41, "beat_at": "2026-11-02T10:00:41Z", "released": false}
"""

import json
import os
import platform
import re
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path

from trainers.process.machine import TIME_FORMAT

FOLDER = "lease"
LEASE_FILE = re.compile(rf"{FOLDER}/([0-9]{{6,}})\.json")
BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
PID_NAMESPACE = Path("/proc/self/ns/pid")


@dataclass(frozen=True)
class Process:
    """A process, so that another on the same machine can tell whether it still runs.

    `kernel` is this boot and pid namespace: containers may share a host name and not their pids.
    It and `pid_started` (clock ticks since boot) are None where there is no /proc.
    """

    host: str
    kernel: str | None
    pid: int
    pid_started: int | None


@dataclass(frozen=True)
class LeaseRecord:
    """One lease file. Times are by the owner's clock and for messages only, never compared."""

    number: int
    nonce: str
    host: str
    kernel: str | None
    pid: int
    pid_started: int | None
    taken_at: str
    beat: int
    beat_at: str
    released: bool

    def encode(self) -> bytes:
        """The bytes of the file."""
        return (json.dumps(asdict(self)) + "\n").encode()

    @property
    def process(self) -> Process:
        """Who wrote it."""
        return Process(self.host, self.kernel, self.pid, self.pid_started)

    def held_s(self) -> float:
        """From taking it to the last heartbeat, by the owner's own clock."""
        taken, beaten = (datetime.strptime(t, TIME_FORMAT) for t in (self.taken_at, self.beat_at))
        return (beaten - taken).total_seconds()


def file_name(number: int) -> str:
    """Where the lease of a number lies."""
    return f"{FOLDER}/{number:06}.json"


def lease_numbers(names: Iterable[str]) -> list[int]:
    """Numbers of the lease files among names, ascending; other files are nobody's."""
    found = (LEASE_FILE.fullmatch(name) for name in names)
    return sorted(int(match[1]) for match in found if match)


def decode(data: bytes | None) -> LeaseRecord | None:
    """The record in a lease file; None where it is not there, torn, or not ours."""
    try:
        return LeaseRecord(**json.loads(data or b""))
    except (ValueError, TypeError):
        return None


def this_process() -> Process:
    """The process that asks."""
    kernel = None
    if BOOT_ID.exists() and PID_NAMESPACE.exists():
        kernel = f"{BOOT_ID.read_text().strip()} {PID_NAMESPACE.readlink()}"
    state = _stat(os.getpid())
    return Process(platform.node(), kernel, os.getpid(), state[1] if state else None)


def on_same_machine(one: Process, other: Process) -> bool:
    """Whether pids of one mean something to the other; where that is not known, they do not."""
    return one.kernel is not None and (one.host, one.kernel) == (other.host, other.kernel)


def is_gone(process: Process, here: Process) -> bool:
    """Whether a process certainly runs no more: on this machine, and dead or its pid reused."""
    if not on_same_machine(process, here):
        return False
    try:
        os.kill(process.pid, 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False  # another user's, and /proc may hide it
    state = _stat(process.pid)
    return state is not None and (state[0] in "ZX" or state[1] != process.pid_started)


def _stat(pid: int) -> tuple[str, int] | None:
    """State and start time of a process (proc(5), fields 3 and 22), None where they are hidden."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return None
    # The name before the last ")" may hold spaces and brackets.
    fields = text.rpartition(")")[2].split()
    return fields[0], int(fields[19])
