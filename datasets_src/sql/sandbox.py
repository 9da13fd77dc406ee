"""Worker processes that run SQL of a model; nothing it writes can raise or hang here.

pool = pool_for(database, "tsql")
pool.run("SELECT COUNT(*) FROM dbo.Rutas", "sqlite") -> Outcome("ok", ((64,),), "")
"""

import atexit
import json
import os
import queue
import select
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from datasets_src.errors import UserError
from datasets_src.sql.database import Database

Engine = Literal["sqlite", "duckdb"]
ENGINES: tuple[Engine, ...] = ("sqlite", "duckdb")
KILL_AFTER_S = 3.0
START_LIMIT_S = 120.0
MAX_SQL_CHARS = 20_000  # the parser's time grows with the text
_ROOT = Path(__file__).resolve().parents[2]
# A worker gets nothing of the parent's environment that could be a secret.
_ENV_KEPT = ("PATH", "HOME", "LANG", "LD_LIBRARY_PATH", "XDG_CACHE_HOME", "TMPDIR", "VIRTUAL_ENV")


@dataclass(frozen=True)
class Outcome:
    """How one run went: "ok", "invalid", "unsafe", "timeout" or "too_many_rows"."""

    status: str
    rows: tuple[tuple[Any, ...], ...]
    detail: str


@dataclass
class _Worker:
    """One process and its pipes; `process` is None where it must be started."""

    command: list[str]
    process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        env = {name: os.environ[name] for name in _ENV_KEPT if name in os.environ}
        path = os.pathsep.join(filter(None, [str(_ROOT), os.environ.get("PYTHONPATH")]))
        env |= {"PYTHONPATH": path, "PYTHONIOENCODING": "utf-8"}
        self.process = subprocess.Popen(
            self.command,
            env=env,
            cwd=_ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        if self._read_line(START_LIMIT_S) is None:
            said = self.stop()
            raise UserError(f"data.task_options.database: the SQL worker does not start ({said})")

    def stop(self) -> str:
        """Kill the process; its last word on stderr, or how it ended."""
        process, self.process = self.process, None
        if process is None:
            return ""
        process.kill()
        _, stderr = process.communicate()
        lines = stderr.decode("utf-8", "replace").strip().splitlines()
        return lines[-1] if lines else f"exit code {process.returncode}"

    def ask(self, request: dict[str, Any]) -> Outcome:
        """One request; a worker that hangs is killed, one that dies found the SQL invalid."""
        if self.process is None:
            self.start()
        assert self.process is not None and self.process.stdin is not None
        started = time.monotonic()
        try:
            self.process.stdin.write(json.dumps(request).encode() + b"\n")
            self.process.stdin.flush()
            line = self._read_line(KILL_AFTER_S)
        except BrokenPipeError:
            line = None
        if line is None:
            hung = time.monotonic() - started >= KILL_AFTER_S
            return Outcome("timeout" if hung else "invalid", (), self.stop())
        reply = json.loads(line)
        return Outcome(reply["status"], tuple(map(tuple, reply["rows"])), reply["detail"])

    def _read_line(self, limit_s: float) -> bytes | None:
        """The next line of its output, or None at its end or at the time limit."""
        assert self.process is not None and self.process.stdout is not None
        descriptor, end = self.process.stdout.fileno(), time.monotonic() + limit_s
        parts: list[bytes] = []
        while (left_s := end - time.monotonic()) > 0:
            if not select.select([descriptor], [], [], left_s)[0]:
                break
            parts.append(os.read(descriptor, 1 << 20))
            if not parts[-1]:
                return None
            if parts[-1].endswith(b"\n"):
                return b"".join(parts)
        return None


@dataclass
class Pool:
    """Workers on one database and dialect, each serving one thread at a time."""

    num_workers: int
    executor: ThreadPoolExecutor
    gold: dict[Any, Any] = field(default_factory=dict)  # results of gold queries, see judge.py
    _idle: "queue.SimpleQueue[_Worker]" = field(default_factory=queue.SimpleQueue)
    _all: list[_Worker] = field(default_factory=list)

    def run(self, sql: str, engine: Engine) -> Outcome:
        """Run `sql` in `engine`; never raises because of `sql`."""
        if len(sql) > MAX_SQL_CHARS:
            return Outcome("invalid", (), f"{len(sql)} characters, more than {MAX_SQL_CHARS}")
        worker = self._idle.get()
        try:
            return worker.ask({"sql": sql, "engine": engine})
        finally:
            self._idle.put(worker)

    def close(self) -> None:
        """Stop the workers; threads still waiting for one end with the process."""
        self.executor.shutdown(wait=False, cancel_futures=True)
        for worker in self._all:
            worker.stop()


def new_pool(database: Database, dialect: str, *, num_workers: int) -> Pool:
    """A pool whose workers start when first asked."""
    pool = Pool(num_workers, ThreadPoolExecutor(num_workers))
    module = "datasets_src.sql.worker"
    for _ in range(num_workers):
        worker = _Worker([sys.executable, "-m", module, str(database.directory), dialect])
        pool._all.append(worker)
        pool._idle.put(worker)
    return pool


_pools: dict[tuple[int, str, str], Pool] = {}
_lock = threading.Lock()


def pool_for(database: Database, dialect: str) -> Pool:
    """The pool of this process for a database, kept until the process ends."""
    key = (os.getpid(), str(database.directory), dialect)
    with _lock:
        if key not in _pools:
            num_workers = min(4, max(2, len(os.sched_getaffinity(0))))
            _pools[key] = new_pool(database, dialect, num_workers=num_workers)
        return _pools[key]


@atexit.register
def _close_all() -> None:
    for (pid, _, _), pool in _pools.items():
        if pid == os.getpid():  # a fork's copy is not its own to stop
            pool.close()
