"""A reply must match for every bound value, in every engine that supports its syntax."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

import pytest

from datasets_src.sql import judge as judge_module
from datasets_src.sql.database import open_database
from datasets_src.sql.judge import Case, GoldQueryError, judge
from datasets_src.sql.sandbox import ENGINES, Engine, Outcome, WorkerPool, new_pool

DUMP = """
CREATE TABLE t (id INTEGER, name TEXT);
INSERT INTO t VALUES (1, 'a'), (2, 'b'), (3, 'a'), (4, 'Á');
"""
IDS = ({"<id>": 1}, {"<id>": 2}, {"<id>": 3})
ENDLESS = "WITH RECURSIVE r(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM r) SELECT MAX(n) FROM r"
NAME = "SELECT name FROM t WHERE id = <id>"


@pytest.fixture(scope="module")
def pools(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, WorkerPool]]:
    path = tmp_path_factory.mktemp("judge") / "t.sql"
    path.write_text(DUMP, encoding="utf-8")
    made = {
        dialect: new_pool(
            open_database(path, case_insensitive=dialect == "tsql"), dialect, num_workers=1
        )
        for dialect in ENGINES
    }
    yield made
    for pool in made.values():
        pool.close()


@pytest.fixture(autouse=True)
def generous_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    """CPU limits that no terminating query here reaches; endless ones get a short one."""
    monkeypatch.setattr(judge_module, "TIME_LIMIT_S", 30.0)
    monkeypatch.setattr(judge_module, "GOLD_LIMIT_S", 30.0)


@pytest.mark.parametrize(
    ("gold", "reply", "status", "ordered"),
    [
        (NAME, "SELECT name n FROM t WHERE <id> = id", "match", True),
        (NAME, "SELECT name FROM t WHERE id = 1", "other_rows", False),
        (NAME, "SELECT 'a'", "other_rows", False),
        (NAME, "SELECT name FROM t WHERE id IN (1, 2, <id>)", "superset", False),
        (NAME, "SELECT name FROM t WHERE id IN (1, 3)", "other_rows", False),
        ("SELECT 2, 3", "SELECT <id>, 3", "other_rows", False),
        ("SELECT id FROM t", "SELECT id FROM t ORDER BY id DESC", "match", False),
        ("SELECT id, name FROM t", "SELECT name, id FROM t", "column_order", False),
        ("SELECT id FROM t WHERE id < 3", "SELECT id FROM t", "superset", False),
        ("SELECT DISTINCT name FROM t", "SELECT name FROM t", "superset", False),
        ("SELECT 1, name FROM t WHERE id = 9", "SELECT 1, name FROM t WHERE id = 8", "match", True),
        ("SELECT 1, name FROM t WHERE id = 9", "SELECT 1 FROM t WHERE id = 9", "other_rows", False),
        ("SELECT Null", "SELECT NULL AS nada", "match", True),
        ("SELECT Null", "SELECT name FROM t WHERE id = 9", "other_rows", False),
        ("SELECT COUNT(*) FROM t", "SELECT 4.0", "match", True),
        ("SELECT id FROM t", "SELECT id FROM u", "invalid", False),
        ("SELECT id FROM t", "SELECT nada(id) FROM t", "invalid", False),
        ("SELECT id FROM t", "DROP TABLE t", "unsafe", False),
        ("SELECT id FROM t", "SELECT 1 FROM t a, t b, t c, t d, t e, t f, t g", "too_large", False),
        ("SELECT id FROM t", ENDLESS, "timed_out", False),
    ],
)  # fmt: skip
@pytest.mark.parametrize("dialect", ["sqlite", "postgres"])
def test_verdicts(
    gold: str,
    reply: str,
    status: str,
    ordered: bool,
    dialect: str,
    pools: dict[str, WorkerPool],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if status == "timed_out":
        monkeypatch.setattr(judge_module, "TIME_LIMIT_S", 0.2)
    (verdict,) = judge(pools[dialect], [Case(gold, reply, IDS)])
    assert (verdict.status, verdict.ordered) == (status, ordered)


@pytest.mark.parametrize(
    ("gold", "reply", "status"),
    [
        # Upper case is another text, but DISTINCT may keep any of the equal spellings.
        ("SELECT name FROM t WHERE id = 4", "SELECT LOWER(name) FROM t WHERE id = 4", "other_rows"),
        ("SELECT DISTINCT name FROM t", "SELECT name FROM t WHERE id IN (2, 3, 4)", "match"),
        ("SELECT DISTINCT name FROM t", "SELECT DISTINCT LOWER(name) FROM t", "match"),
        ("SELECT id FROM t WHERE name = 'á'", "SELECT 4", "match"),
        # Syntax that SQLite lacks is judged by DuckDB alone, also in a gold query.
        ("SELECT 5", "SELECT DATEDIFF(month, '2020-01-31', '2020-06-01')", "match"),
        ("SELECT DATEDIFF(month, '2020-01-31', '2020-06-01')", "SELECT 5", "match"),
        ("SELECT DATEDIFF(month, '2020-01-31', '2020-06-01')", "SELECT 4", "other_rows"),
        # SQLite takes any column next to an aggregate, SQL Server does not.
        ("SELECT 'a', 3", "SELECT name, MAX(id) FROM t WHERE id < 4", "invalid"),
    ],
)
def test_verdicts_where_the_engines_differ(
    gold: str, reply: str, status: str, pools: dict[str, WorkerPool]
) -> None:
    assert judge(pools["tsql"], [Case(gold, reply, ())])[0].status == status


def test_gold_results_are_cached_and_equal_replies_run_once(
    pools: dict[str, WorkerPool], monkeypatch: pytest.MonkeyPatch
) -> None:
    executed: list[str] = []
    run = WorkerPool.run

    def counting(self: WorkerPool, texts: Sequence[str], engine: Engine, limit_s: float) -> Outcome:
        executed.extend(texts)
        return run(self, texts, engine, limit_s)

    monkeypatch.setattr(WorkerPool, "run", counting)
    cases = [Case("SELECT 41 + 1", "SELECT 42", IDS)] * 50
    assert {verdict.status for verdict in judge(pools["tsql"], cases)} == {"match"}
    assert sorted(executed) == ["SELECT 41 + 1"] * 2 + ["SELECT 42"] * 2  # once for each engine
    executed.clear()
    judge(pools["tsql"], [Case("SELECT 41 + 1", "SELECT 41 + 1", IDS)])
    assert executed == []


def test_the_cache_of_gold_results_is_bounded(
    pools: dict[str, WorkerPool], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(judge_module, "MAX_GOLD_CELLS", 3)
    pool = pools["sqlite"]
    for number in range(5):
        assert judge(pool, [Case(f"SELECT {number}", f"SELECT {number}", ())])[0].ordered
    assert len(pool.gold) == 3


@pytest.mark.parametrize(
    ("cpu_s", "limits", "status"),
    [(0.1, [0.4, 0.3], "match"), (0.3, [0.4, 0.1], "timed_out"), (0.5, [0.4], "timed_out")],
)
def test_both_engines_share_the_time_limit_of_a_reply(
    cpu_s: float,
    limits: list[float],
    status: str,
    pools: dict[str, WorkerPool],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Each run is reported to take `cpu_s`: two halves within the limit exceed it together."""
    pool, run = pools["postgres"], WorkerPool.run
    given_s: list[float] = []

    def reported(self: WorkerPool, texts: Sequence[str], engine: Engine, limit_s: float) -> Outcome:
        given_s.append(limit_s)
        outcome = run(self, texts, engine)
        return replace(outcome, status="ok" if cpu_s <= limit_s else "timed_out", cpu_s=cpu_s)

    judge(pool, [Case("SELECT 1", "SELECT 1", ())])
    monkeypatch.setattr(judge_module, "TIME_LIMIT_S", 0.4)
    monkeypatch.setattr(WorkerPool, "run", reported)
    assert judge(pool, [Case("SELECT 1", "SELECT 1.0", ())])[0].status == status
    assert given_s == pytest.approx(limits)


def test_gold_queries_that_no_engine_runs_are_listed(
    pools: dict[str, WorkerPool], monkeypatch: pytest.MonkeyPatch
) -> None:
    cases = [Case("SELECT 1", "SELECT 1", ()), Case("SELECT x FROM nowhere", "SELECT 1", ())]
    with pytest.raises(GoldQueryError) as caught:
        judge(pools["tsql"], cases)
    assert caught.value.cases == [1]
    assert "sqlite: invalid OperationalError: no such table: nowhere" in caught.value.details[0]
    assert "duckdb: invalid CatalogException" in caught.value.details[0]
    monkeypatch.setattr(judge_module, "GOLD_LIMIT_S", 0.1)
    with pytest.raises(GoldQueryError, match=r"sqlite: timed_out more than 0\.1 s"):
        judge(pools["sqlite"], [Case(ENDLESS, "SELECT 1", ())])
