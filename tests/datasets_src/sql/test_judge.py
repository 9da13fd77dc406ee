"""Placeholders become literals; a reply must hold for every value, in every engine."""

from collections.abc import Iterator

import pytest

from datasets_src.sql.database import open_database
from datasets_src.sql.judge import Case, GoldFault, bind, bound_texts, judge
from datasets_src.sql.sandbox import Pool, new_pool

DUMP = "CREATE TABLE t (id INTEGER, name TEXT); INSERT INTO t VALUES (1, 'a'), (2, 'b'), (3, 'a');"
IDS = ({"<id>": 1}, {"<id>": 2}, {"<id>": 3})


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pool]:
    path = tmp_path_factory.mktemp("judge") / "t.sql"
    path.write_text(DUMP, encoding="utf-8")
    pool = new_pool(open_database(path, case_insensitive=False), "sqlite", num_workers=2)
    yield pool
    pool.close()


@pytest.mark.parametrize(
    ("sql", "value", "bound"),
    [
        ("a = <x> OR b=<x>", 7, "a = 7 OR b=7"),
        ("a = <x>", "O'Hara", "a = 'O''Hara'"),
        ("a = '<x>'", "O'Hara", "a = 'O''Hara'"),
        ("a LIKE '%<x>%' AND b = <x>", "it's", "a LIKE '%it''s%' AND b = 'it''s'"),
        ("a = '<x>'", 7, "a = '7'"),
        ("a = 1", 7, "a = 1"),
        ("a = <x>", "<x>", "a = '<x>'"),
    ],
)
def test_bind(sql: str, value: object, bound: str) -> None:
    assert bind(sql, {"<x>": value}) == bound


def test_a_text_without_a_placeholder_is_run_once() -> None:
    assert bound_texts("SELECT 1", IDS) == ("SELECT 1",)
    assert bound_texts("SELECT 1", ()) == ("SELECT 1",)
    assert len(bound_texts("SELECT <id>", IDS)) == 3


@pytest.mark.parametrize(
    ("gold", "reply", "match", "ordered", "valid", "status"),
    [
        (
            "SELECT name FROM t WHERE id = <id>",
            "SELECT name n FROM t WHERE <id> = id",
            1,
            1,
            1,
            "ok",
        ),
        ("SELECT name FROM t WHERE id = <id>", "SELECT name FROM t WHERE id = 1", 0, 0, 1, "ok"),
        ("SELECT name FROM t WHERE id = <id>", "SELECT 'a'", 0, 0, 1, "ok"),
        ("SELECT id FROM t", "SELECT id FROM t ORDER BY id DESC", 1, 0, 1, "ok"),
        ("SELECT Null", "SELECT NULL AS nada", 1, 1, 1, "ok"),
        ("SELECT Null", "SELECT name FROM t WHERE id = 9", 0, 0, 1, "ok"),
        ("SELECT id FROM t", "SELECT id FROM u", 0, 0, 0, "invalid"),
        ("SELECT id FROM t", "DROP TABLE t", 0, 0, 0, "unsafe"),
        ("SELECT COUNT(*) FROM t", "SELECT 3.0", 1, 1, 1, "ok"),
        # Runs in SQLite only, which takes any column beside an aggregate: SQLite alone decides.
        ("SELECT name, MAX(id) FROM t", "SELECT 'a', 3", 1, 1, 1, "ok"),
        # The gold runs in both, so a reply that runs in one of them is not valid.
        ("SELECT 'a', 3", "SELECT name, MAX(id) FROM t", 0, 0, 0, "invalid"),
    ],
)
def test_verdicts(
    gold: str, reply: str, match: int, ordered: int, valid: int, status: str, pool: Pool
) -> None:
    (verdict,) = judge(pool, [Case(gold, reply, IDS)])
    found = (verdict.match, verdict.ordered, verdict.valid, verdict.status)
    assert found == (bool(match), bool(ordered), bool(valid), status)


def test_gold_results_are_kept_and_equal_replies_run_once(
    pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    run = Pool.run

    def counting(self: Pool, sql: str, engine: str) -> object:
        asked.append(sql)
        return run(self, sql, engine)  # type: ignore[arg-type]

    monkeypatch.setattr(Pool, "run", counting)
    cases = [Case("SELECT 41 + 1", "SELECT 42", IDS)] * 50
    assert all(verdict.match for verdict in judge(pool, cases))
    assert sorted(asked) == ["SELECT 41 + 1"] * 2 + ["SELECT 42"] * 2  # once for each engine
    asked.clear()
    judge(pool, [Case("SELECT 41 + 1", "SELECT 41 + 1", IDS)])
    assert asked == []


def test_gold_that_runs_nowhere_is_named(pool: Pool) -> None:
    cases = [Case("SELECT 1", "SELECT 1", ()), Case("SELECT x FROM nowhere", "SELECT 1", ())]
    with pytest.raises(GoldFault) as caught:
        judge(pool, cases)
    assert caught.value.cases == [1]
    assert "no such table: nowhere" in caught.value.details[0]
