"""CPU time, rows, characters and memory are limited; the worker survives or is replaced."""

import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from datasets_src.errors import UserError
from datasets_src.sql import sandbox
from datasets_src.sql.database import Database, open_database
from datasets_src.sql.sandbox import Engine, WorkerPool, new_pool

DUMP = """
CREATE TABLE puntos (n INTEGER);
WITH RECURSIVE r(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM r WHERE n < 20000)
INSERT INTO puntos SELECT n FROM r;
"""
ENDLESS = "WITH RECURSIVE r(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM r) SELECT MAX(n) FROM r"
CROSS = "SELECT SUM(a.n * b.n % 7) FROM puntos a, puntos b, puntos c"
BOTH = pytest.mark.parametrize("engine", ["sqlite", "duckdb"])


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Database:
    path = tmp_path_factory.mktemp("sandbox") / "puntos.sql"
    path.write_text(DUMP, encoding="utf-8")
    return open_database(path, case_insensitive=False)


@pytest.fixture(scope="module")
def pools(database: Database) -> Iterator[dict[str, WorkerPool]]:
    """Each engine with its own dialect."""
    made = {dialect: new_pool(database, dialect, num_workers=1) for dialect in ("sqlite", "duckdb")}
    yield made
    for pool in made.values():
        pool.close()


def pid(pool: WorkerPool) -> int:
    process = pool._workers[0].process
    assert process is not None
    return process.pid


def lives(pool: WorkerPool, engine: Engine) -> bool:
    return pool.run(["SELECT COUNT(*) FROM puntos"], engine).results[0].rows == ((20_000,),)


@BOTH
def test_an_endless_query_is_stopped_and_the_next_is_served(
    engine: Engine, pools: dict[str, WorkerPool]
) -> None:
    pool, sql = pools[engine], {"sqlite": ENDLESS, "duckdb": CROSS}[engine]
    assert lives(pool, engine)
    before = pid(pool)
    outcome = pool.run([sql], engine, 0.2)
    assert (outcome.status, outcome.detail) == ("timed_out", "more than 0.2 s")
    assert pid(pool) != before and lives(pool, engine)


@BOTH
def test_the_limit_is_one_second_of_cpu_time(engine: Engine, pools: dict[str, WorkerPool]) -> None:
    """A measurable query, repeated in one request to a tenth and to ten times the limit."""
    num = 12 if engine == "sqlite" else 600
    sql = f"SELECT SUM(a.n * b.n % 7) FROM puntos a, puntos b WHERE b.n <= {num}"
    once = pools[engine].run([sql], engine)
    assert once.status == "ok" and 0.005 < once.cpu_s < 0.5
    per_limit = int(1 / once.cpu_s) + 1
    assert pools[engine].run([sql] * per_limit * 10, engine).status == "timed_out"
    assert pools[engine].run([sql] * (per_limit // 10 or 1), engine).status == "ok"
    assert sandbox.TIME_LIMIT_S == 1.0


def cpu_time_s(pid: int) -> float:
    """CPU time of a live process (proc(5), fields 14 and 15 of stat)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def test_a_worker_is_killed_after_one_second_of_cpu_time(database: Database) -> None:
    """The default limit, measured in the CPU time of the killed process, not by the clock."""
    pool = new_pool(database, "sqlite", num_workers=1)
    assert lives(pool, "sqlite")
    before = cpu_time_s(pid(pool))
    reaped = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert pool.run([ENDLESS], "sqlite").status == "timed_out"
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    pool.close()
    total = usage.ru_utime + usage.ru_stime - reaped.ru_utime - reaped.ru_stime
    assert 0.9 < total - before < 1.5


def test_a_query_that_cannot_be_interrupted_is_stopped_too(database: Database) -> None:
    """A Python regular expression holds the interpreter."""
    pool = new_pool(database, "tsql", num_workers=1)
    slow = "SELECT '" + "a" * 60 + "' LIKE '" + "%a" * 20 + "%b'"
    assert pool.run([slow], "sqlite", 0.2).status == "timed_out"
    assert pool.run(["SELECT 1"], "sqlite").status == "ok"
    pool.close()


@BOTH
def test_more_than_10000_rows_or_4_million_characters_are_too_large(
    engine: Engine, pools: dict[str, WorkerPool]
) -> None:
    def run(sql: str) -> tuple[str, str]:
        outcome = pools[engine].run([sql], engine)
        return outcome.status, outcome.detail

    assert run("SELECT n FROM puntos") == ("too_large", "more than 10,000 rows")
    assert run("SELECT n FROM puntos WHERE n <= 10000") == ("ok", "")
    assert run("SELECT n FROM puntos WHERE n <= 10001") == ("too_large", "more than 10,000 rows")
    text = "replace(printf('%01000d', 1), '0', 'x')"
    assert run(f"SELECT {text} FROM puntos WHERE n <= 3900") == ("ok", "")
    assert run(f"SELECT {text} FROM puntos WHERE n <= 4001")[1] == "more than 4,000,000 characters"


@BOTH
def test_a_long_text_is_compared_by_its_hash(engine: Engine, pools: dict[str, WorkerPool]) -> None:
    sql = "SELECT replace(printf('%020000d', {}), '0', 'x')"
    one, other, again = (pools[engine].run([sql.format(i)], engine).results[0] for i in (1, 2, 1))
    assert one == again != other and len(one.rows[0][0]) < 200


@BOTH
def test_memory_is_limited_to_512_mib(engine: Engine, pools: dict[str, WorkerPool]) -> None:
    """Distinct texts must be held all at once: 60 MB of them, then 2 GB."""
    text = {
        "sqlite": "CAST(zeroblob(99990 + n % 10) AS TEXT) || n",
        "duckdb": "repeat('x', CAST(99990 + n % 10 AS INTEGER)) || n",
    }[engine]
    sql = f"SELECT COUNT(DISTINCT t) FROM (SELECT {text} AS t FROM puntos WHERE n <= {{}})"
    assert pools[engine].run([sql.format(600)], engine, 20.0).status == "ok"
    outcome = pools[engine].run([sql.format(20_000)], engine, 20.0)
    assert (outcome.status, outcome.detail) == ("too_large", "more than 512 MiB of memory")
    assert lives(pools[engine], engine)


@BOTH
def test_memory_of_one_query_is_available_to_the_next(
    engine: Engine, pools: dict[str, WorkerPool]
) -> None:
    pool = pools[engine]
    assert lives(pool, engine)
    before = pid(pool)
    big = {
        "sqlite": "SELECT length(hex(zeroblob(20000000)))",
        "duckdb": "SELECT list_sum(range(30000000))",
    }[engine]
    assert pool.run([big], engine, 20.0).status == "ok"
    assert lives(pool, engine) and pool.run([big], engine, 20.0).status == "ok"
    assert engine == "sqlite" or pid(pool) != before


def test_a_worker_that_dies_is_replaced(pools: dict[str, WorkerPool]) -> None:
    pool = pools["sqlite"]
    assert lives(pool, "sqlite")
    process = pool._workers[0].process
    assert process is not None
    process.kill()
    process.wait()
    assert lives(pool, "sqlite")


def test_a_starved_worker_is_late_not_hung(
    pools: dict[str, WorkerPool], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A runnable worker may exceed the wall limit; one that is stopped counts as hung."""
    pool = pools["sqlite"]
    assert lives(pool, "sqlite")
    monkeypatch.setattr(sandbox, "WALL_LIMIT_S", 0.01)
    is_runnable = sandbox._is_runnable
    monkeypatch.setattr(sandbox, "_is_runnable", lambda pid: True)
    count = "SELECT COUNT(*) FROM puntos a, puntos b WHERE a.n < 400 AND a.n + b.n > 7"
    outcome = pool.run([count], "sqlite", 60.0)
    assert (outcome.status, outcome.cpu_s > 0.05) == ("ok", True)
    monkeypatch.setattr(sandbox, "_is_runnable", is_runnable)
    os.kill(pid(pool), signal.SIGSTOP)
    assert pool.run(["SELECT 1"], "sqlite").status == "timed_out"
    monkeypatch.undo()
    assert lives(pool, "sqlite")


def test_a_process_is_runnable_unless_it_waits_or_is_stopped() -> None:
    spinning = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    give_up = time.monotonic() + 120
    while not sandbox._is_runnable(spinning.pid) and time.monotonic() < give_up:
        time.sleep(0.01)
    assert sandbox._is_runnable(spinning.pid)
    os.kill(spinning.pid, signal.SIGSTOP)
    os.waitpid(spinning.pid, os.WUNTRACED)
    assert not sandbox._is_runnable(spinning.pid)
    spinning.kill()
    spinning.wait()


def test_texts_of_a_request_run_in_order_up_to_the_first_failure(
    pools: dict[str, WorkerPool],
) -> None:
    pool = pools["sqlite"]
    outcome = pool.run(["SELECT 1", "SELECT 2, 3"], "sqlite")
    assert [(r.num_columns, r.rows) for r in outcome.results] == [(1, ((1,),)), (2, ((2, 3),))]
    outcome = pool.run(["SELECT 1", "SELECT x", "DROP TABLE puntos"], "sqlite")
    assert (outcome.status, outcome.results) == ("invalid", ())
    long = f"SELECT {'1 + ' * 6_000} 1"
    assert pool.run(["SELECT 1", long], "sqlite").detail == "24009 characters, more than 20000"


def test_a_missing_database_is_a_user_error(tmp_path: Path) -> None:
    pool = new_pool(Database(tmp_path / "gone"), "sqlite", num_workers=1)
    with pytest.raises(UserError, match="the SQL worker does not start"):
        pool.run(["SELECT 1"], "sqlite")
    pool.close()
