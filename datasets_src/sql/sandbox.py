"""Worker processes that execute model-written SQL; no SQL can raise or hang in the caller.

pool = pool_for(database, "tsql")
pool.run(["SELECT COUNT(*) FROM dbo.Rutas"], "sqlite")
-> Outcome(status="ok", results=(Result(num_columns=1, rows=((64,),)), …), detail="", cpu_s=0.004)
"""

import atexit
import json
import os
import queue
import select
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from datasets_src.errors import UserError
from datasets_src.sql.compare import Result
from datasets_src.sql.database import Database

Engine = Literal["sqlite", "duckdb"]
# SQLite and DuckDB SQL runs in its own engine; other dialects are transpiled and run in both.
ENGINES: dict[str, tuple[Engine, ...]] = {
    "sqlite": ("sqlite",),
    "duckdb": ("duckdb",),
    "tsql": ("sqlite", "duckdb"),
    "postgres": ("sqlite", "duckdb"),
}
# CPU time, enforced by the kernel, so that a busy machine does not change a score.
TIME_LIMIT_S = 1.0
# Wall time after which a worker that waits instead of computing counts as hung; no allowed function
# waits (safety.py).
WALL_LIMIT_S = 120.0
START_LIMIT_S = 120.0
MAX_SQL_CHARS = 20_000  # bounds the parser's time
_ROOT = Path(__file__).resolve().parents[2]
# The only environment variables a worker inherits, so that it gets no secrets.
_PASSED_ENV = ("PATH", "HOME", "LANG", "LD_LIBRARY_PATH", "XDG_CACHE_HOME", "TMPDIR", "VIRTUAL_ENV")
_STATUS_OF_EXIT = {-signal.SIGPROF: "timed_out", -signal.SIGKILL: "too_large"}


@dataclass(frozen=True)
class Outcome:
    """The outcome of a request: "ok" with one result per text, or the status of the first failure.

    Failures are "invalid", "unsafe", "timed_out", "too_large" (rows, characters or memory) and
    "unsupported": the engine lacks the syntax, which says nothing about the SQL's validity.
    """

    status: str
    results: tuple[Result, ...]
    detail: str
    cpu_s: float


@dataclass
class _Worker:
    """One process and its pipes; `process` is None until it is started."""

    command: list[str]
    process: subprocess.Popen[bytes] | None = None
    is_ready: bool = False

    def spawn(self) -> None:
        """Start the process without waiting until it is ready."""
        env = {name: os.environ[name] for name in _PASSED_ENV if name in os.environ}
        path = os.pathsep.join(filter(None, [str(_ROOT), os.environ.get("PYTHONPATH")]))
        env |= {"PYTHONPATH": path, "PYTHONIOENCODING": "utf-8"}
        self.is_ready = False
        self.process = subprocess.Popen(
            self.command,
            env=env,
            cwd=_ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )

    def stop(self) -> str:
        """Kill the process; returns its last line of stderr, or its exit code."""
        process, self.process = self.process, None
        if process is None:
            return ""
        process.kill()
        _, stderr = process.communicate()
        lines = stderr.decode("utf-8", "replace").strip().splitlines()
        return lines[-1] if lines else f"exit code {process.returncode}"

    def send_request(self, request: dict[str, Any]) -> Outcome:
        """Run one request. A process that dies or must restart is replaced immediately."""
        self._wait_ready()
        assert self.process is not None and self.process.stdin is not None
        try:
            self.process.stdin.write(json.dumps(request).encode() + b"\n")
            self.process.stdin.flush()
            line = self._read_line(WALL_LIMIT_S)
        except BrokenPipeError:
            line = b""
        if not line:
            return self._outcome_of_exit(request["limit_s"], is_hung=line is None)
        response = json.loads(line)
        if response["needs_restart"]:
            self.stop()
            self.spawn()
        results = tuple(
            Result(len(names), tuple(map(tuple, rows)), caseless, tuple(names))
            for names, rows, caseless in response["results"]
        )
        return Outcome(response["status"], results, response["detail"], response["cpu_s"])

    def _wait_ready(self) -> None:
        if self.process is not None and self.process.poll() is not None:
            self.stop()  # it died while idle
        if self.process is None:
            self.spawn()
        if not self.is_ready and not self._read_line(START_LIMIT_S):
            raise UserError(
                f"data.task_options.database: the SQL worker does not start ({self.stop()})"
            )
        self.is_ready = True

    def _outcome_of_exit(self, limit_s: float, *, is_hung: bool) -> Outcome:
        """The outcome of a request during which the process exited or hung."""
        assert self.process is not None
        process = self.process
        if not is_hung:
            process.wait()
        last_line = self.stop()
        self.spawn()
        status = "timed_out" if is_hung else _STATUS_OF_EXIT.get(process.returncode, "invalid")
        detail = f"more than {limit_s:.2g} s" if status == "timed_out" else last_line
        return Outcome(status, (), detail, limit_s)

    def _read_line(self, limit_s: float) -> bytes | None:
        """The next line of its output, b"" at end of file, None if it hangs.

        It hangs if it writes nothing for `limit_s` and is not runnable then.
        """
        assert self.process is not None and self.process.stdout is not None
        descriptor = self.process.stdout.fileno()
        ready = select.poll()  # not select.select, which takes no descriptor above 1023
        ready.register(descriptor, select.POLLIN)
        parts: list[bytes] = []
        while True:
            if not ready.poll(1000 * limit_s):
                if _is_runnable(self.process.pid):
                    continue
                return None
            parts.append(os.read(descriptor, 1 << 20))
            if not parts[-1]:
                return b""
            if parts[-1].endswith(b"\n"):
                return b"".join(parts)


def _is_runnable(pid: int) -> bool:
    """Whether the process runs or waits for a CPU, so that it is starved but not hung.

    Its CPU-time limit bounds this as well, for a request as for the start.
    """
    return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].startswith("R")


@dataclass
class WorkerPool:
    """Worker processes for one database and dialect; each serves one thread at a time."""

    num_workers: int
    dialect: str
    executor: ThreadPoolExecutor
    gold: dict[Any, Any] = field(
        default_factory=dict
    )  # cached results of gold queries, see judge.py
    _idle_workers: "queue.SimpleQueue[_Worker]" = field(default_factory=queue.SimpleQueue)
    _workers: list[_Worker] = field(default_factory=list)

    def run(
        self,
        texts: Sequence[str],
        engine: Engine,
        limit_s: float = TIME_LIMIT_S,
        *,
        max_rows: int | None = None,
    ) -> Outcome:
        """Run `texts` in `engine`; never raises because of their content.

        Args:
            limit_s: CPU seconds for all texts together.
            max_rows: truncate each result to this many rows; None makes more than worker.MAX_ROWS
                rows "too_large".
        """
        num_chars = max(map(len, texts))
        if num_chars > MAX_SQL_CHARS:
            detail = f"{num_chars} characters, more than {MAX_SQL_CHARS}"
            return Outcome("invalid", (), detail, 0.0)
        worker = self._idle_workers.get()
        try:
            request = {"texts": list(texts), "engine": engine, "limit_s": limit_s}
            return worker.send_request({**request, "max_rows": max_rows})
        finally:
            self._idle_workers.put(worker)

    def close(self) -> None:
        """Stop the workers; threads that still wait for one end with the process."""
        self.executor.shutdown(wait=False, cancel_futures=True)
        for worker in self._workers:
            worker.stop()


def new_pool(database: Database, dialect: str, *, num_workers: int) -> WorkerPool:
    """A pool whose workers start on their first request."""
    pool = WorkerPool(num_workers, dialect, ThreadPoolExecutor(num_workers))
    module = "datasets_src.sql.worker"
    for _ in range(num_workers):
        worker = _Worker([sys.executable, "-m", module, str(database.directory), dialect])
        pool._workers.append(worker)
        pool._idle_workers.put(worker)
    return pool


_pools: dict[tuple[int, str, str], WorkerPool] = {}
_lock = threading.Lock()


def pool_for(database: Database, dialect: str) -> WorkerPool:
    """This process's pool for a database, kept until the process ends."""
    key = (os.getpid(), str(database.directory), dialect)
    with _lock:
        if key not in _pools:
            num_workers = min(4, max(2, len(os.sched_getaffinity(0))))
            _pools[key] = new_pool(database, dialect, num_workers=num_workers)
        return _pools[key]


@atexit.register
def close_pools() -> None:
    """Stop all workers of this process; the next request starts new ones."""
    with _lock:
        for (pid, _, _), pool in _pools.items():
            if pid == os.getpid():  # a forked child must not stop its parent's workers
                pool.close()
        _pools.clear()
