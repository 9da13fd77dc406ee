"""The shipped senderos set: its generator reproduces it, and its validation split is fair."""

import json
import sqlite3
from collections import Counter, defaultdict

import pytest

from datasets_src.generators.senderos import facts, families, generate

FOLDER = generate.FOLDER
ROWS = [json.loads(line) for line in (FOLDER / "text2sql.jsonl").read_text("utf-8").splitlines()]
TRAIN = [row for row in ROWS if row["split"] == "train"]
VALIDATION = [row for row in ROWS if row["split"] == "validation"]


@pytest.fixture(scope="module")
def database() -> sqlite3.Connection:
    connection = sqlite3.connect(":memory:")
    connection.executescript((FOLDER / "senderos.sql").read_text("utf-8"))
    return connection


def fills(question: str, wording: str, row: dict[str, str], slots: tuple[str, ...]) -> bool:
    """Whether `wording` with the slot texts of the row's group is `question`."""
    texts = dict(zip(slots, row["group"].split(":")[1:], strict=True))
    filled = wording.format(**texts)
    return filled[0].upper() + filled[1:] == question


def wordings_of(row: dict[str, str]) -> set[str]:
    family = next(f for f in families.FAMILIES if f.name == row["group"].split(":")[0])
    return {w for w in family.wordings if fills(row["question"], w, row, tuple(family.slots))}


def test_the_generator_reproduces_the_committed_bytes() -> None:
    for name, text in generate.generate().items():
        assert (FOLDER / name).read_bytes() == text.encode("utf-8"), name


def test_counts() -> None:
    assert (len(TRAIN), len(VALIDATION)) == (868, 136)
    assert len({row["id"] for row in ROWS}) == len(ROWS)
    assert len(families.FAMILIES) == 21
    assert all(len(family.train_wordings) == 5 for family in families.FAMILIES)
    assert all(len(family.validation_wordings) == 2 for family in families.FAMILIES)
    assert (FOLDER / "senderos.sql").stat().st_size < 150_000


def test_constant_answers_are_a_fifth_of_the_rows() -> None:
    for rows in (TRAIN, VALIDATION):
        share = sum(row["sql"] == "SELECT NULL" for row in rows) / len(rows)
        assert 0.15 <= share <= 0.21


def test_no_group_question_or_wording_is_in_both_splits() -> None:
    for held in ("group", "question"):
        assert not {row[held] for row in TRAIN} & {row[held] for row in VALIDATION}
    trained = set[str]().union(*map(wordings_of, TRAIN))
    asked = set[str]().union(*map(wordings_of, VALIDATION))
    assert len(trained) == 5 * 21 and len(asked) == 2 * 21
    assert not trained & asked


def test_every_family_is_in_both_splits() -> None:
    for rows in (TRAIN, VALIDATION):
        seen = Counter(row["group"].split(":")[0] for row in rows)
        assert set(seen) == {family.name for family in families.FAMILIES}
        assert min(seen.values()) >= 4


def test_every_name_asked_for_in_validation_is_trained_on() -> None:
    trained = {value for row in TRAIN for value in row["group"].split(":")[1:]}
    asked = {value for row in VALIDATION for value in row["group"].split(":")[1:]}
    assert {value for value in asked if not value.isdigit()} <= trained


def test_one_answer_for_each_group_and_none_empty(database: sqlite3.Connection) -> None:
    answers: dict[str, dict[str, str]] = defaultdict(dict)
    for row in ROWS:
        result = sorted(database.execute(row["sql"]).fetchall())
        if row["sql"] != "SELECT NULL":
            assert result and result != [(None,)], row
            answers[row["group"].split(":")[0]][row["group"]] = repr(result)
    for family, by_group in answers.items():
        assert len(set(by_group.values())) == len(by_group), family


def test_replies_are_short() -> None:
    assert max(len(row["sql"]) for row in ROWS) <= 200


def test_the_prompted_schema_is_that_of_the_database(database: sqlite3.Connection) -> None:
    empty = sqlite3.connect(":memory:")
    empty.executescript((FOLDER / "schema.sql").read_text("utf-8"))
    query = "SELECT name, sql FROM sqlite_master ORDER BY name"
    assert database.execute(query).fetchall() == empty.execute(query).fetchall()
    assert database.execute("SELECT COUNT(*) FROM rutas").fetchone() == (90,)
    assert database.execute("SELECT COUNT(*) FROM especies").fetchone() == (len(facts.SPECIES),)
