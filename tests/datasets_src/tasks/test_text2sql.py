"""The text2sql task end to end: examples, prompts, scores, and errors before training."""

import dataclasses
import json
from collections.abc import Iterator
from typing import Any

import pytest

from datasets_src.errors import UserError
from datasets_src.sql.sandbox import close_pools
from datasets_src.tasks import text2sql
from datasets_src.types import Example

DUMP = """
CREATE TABLE rutas (id INTEGER, nombre TEXT, km REAL);
INSERT INTO rutas VALUES (1, 'La Peña', 3.5), (2, 'El Río', 12), (3, 'Alta', 20);
"""
SHORT = ("column_order", "superset", "invalid", "unsafe", "timed_out", "too_large")
RAN = dict.fromkeys(text2sql.METRICS, 0.0) | {"valid_sql": 1.0}
RIGHT = RAN | {"execution_accuracy": 1.0, "ordered_match": 1.0, "exact_match": 1.0}


def short(name: str) -> dict[str, float]:
    """The scores of a reply that failed in this way."""
    return RAN | {name: 1.0, "valid_sql": float(name in ("column_order", "superset"))}


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    folder = tmp_path_factory.mktemp("text2sql")
    texts = {"db.sql": DUMP, "schema.sql": "CREATE TABLE rutas (...)\n", "ids.json": "[1, 2, 3]"}
    for name, text in texts.items():
        (folder / name).write_text(text, encoding="utf-8")
    yield {name: str(folder / name) for name in texts}
    close_pools()


def make(files: dict[str, str], sql: str, **options: Any) -> Example:
    given = {"database": files["db.sql"], "schema_file": files["schema.sql"], **options}
    row = {"id": "7", "group": "g", "question": "¿Qué rutas?", "sql": sql, "split": "train"}
    return next(text2sql.load([row], text2sql.Options(**given)))


def test_prompts(files: dict[str, str]) -> None:
    example = make(files, " SELECT nombre FROM rutas ;\n")
    assert text2sql.to_messages(example) == [
        {"role": "user", "content": "CREATE TABLE rutas (...)\n\n¿Qué rutas?"}
    ]
    assert text2sql.to_text(example) == (
        "### Base de datos:\nCREATE TABLE rutas (...)\n### Instrucción: ¿Qué rutas?\n### SQL:",
        "SELECT nombre FROM rutas;",
    )
    assert (example.id, example.group, example.split) == ("7", "g", "train")
    json.dumps(example.inputs)  # what the store does with it


GOLD = "SELECT nombre, km FROM rutas WHERE km > 5"


@pytest.mark.parametrize(
    ("reply", "expected", "why"),
    [
        (GOLD + ";", RIGHT, ""),
        ("```sql\nselect  nombre ,km\nFROM rutas WHERE km>5\n```", RIGHT, ""),
        ("Claro:\n```\n" + GOLD + ";\n```\nEso es; todo.", RIGHT, ""),
        (GOLD + "\n```\nEso es todo.", RIGHT, ""),
        (GOLD + "; DROP TABLE rutas", RIGHT, ""),
        (GOLD + ";\n### Instrucción: otra", RIGHT, ""),
        (GOLD + " -- y ya; está", RIGHT, ""),
        (GOLD + " AND nombre <> ';'", {**RIGHT, "exact_match": 0.0}, ""),
        ("SELECT nombre AS n, km FROM rutas WHERE km > 4", {**RIGHT, "exact_match": 0.0}, ""),
        (
            GOLD + " ORDER BY id DESC",
            {**RIGHT, "ordered_match": 0.0, "exact_match": 0.0},
            "",
        ),
        (
            "SELECT km, nombre FROM rutas WHERE km > 5",
            short("column_order"),
            "right except for the order of the columns",
        ),
        (
            "SELECT nombre, km FROM rutas",
            short("superset"),
            "the rows of the reference and others",
        ),
        ("SELECT nombre FROM rutas WHERE km > 5", RAN, "other rows than expected"),
        ("SELECT nombre, km FROM rutas WHERE km > 15", RAN, "other rows than expected"),
        ("", short("invalid"), "no SQL"),
        ("; " + GOLD, short("invalid"), "no SQL"),
        ("No lo sé; quizá mañana.", short("invalid"), "does not run"),
        ("SELECT nada FROM rutas", short("invalid"), "does not run"),
        ("None", short("invalid"), "does not run"),
        ("DROP TABLE rutas; " + GOLD, short("unsafe"), "not one read-only SELECT"),
        (
            "WITH RECURSIVE r(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM r) SELECT n, n FROM r",
            short("too_large"),
            "too many rows, or too much memory",
        ),
        (
            "WITH RECURSIVE r(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM r) SELECT SUM(n) FROM r",
            short("timed_out"),
            "takes more than 1 s of CPU time",
        ),
    ],
)
def test_scores(reply: str, expected: dict[str, float], why: str, files: dict[str, str]) -> None:
    example = make(files, GOLD)
    scores = text2sql.score(example, reply)
    assert scores == expected
    assert text2sql.why(example, reply, scores) == why
    assert sum(scores[name] for name in ("execution_accuracy", *SHORT)) == float(
        why != "other rows than expected"
    )


def test_placeholders_are_bound_over_values_given_or_read(files: dict[str, str]) -> None:
    gold = "SELECT nombre FROM rutas WHERE id = <id>"
    for values in ([1, 2], files["ids.json"]):
        example = make(files, gold, placeholders={"<id>": values})
        right = text2sql.score(example, "SELECT nombre FROM rutas WHERE <id> = id")
        assert right["execution_accuracy"] == 1.0
        first_only = text2sql.score(example, "SELECT 'La Peña'")
        assert first_only["execution_accuracy"] == 0.0
    example = make(files, gold, placeholders={"<id>": files["ids.json"]}, max_bound_values=1)
    assert text2sql.score(example, "SELECT 'La Peña'")["execution_accuracy"] == 1.0


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"database": None}, "database: not set"),
        ({"database": "nowhere.sqlite"}, "nowhere.sqlite does not exist"),
        ({"schema_file": "nowhere.sql"}, "schema_file: nowhere.sql cannot be read"),
        ({"placeholders": {"<id>": "nowhere.json"}}, "<id>: nowhere.json cannot be read"),
        ({"placeholders": {"<id>": []}}, "<id>: not a non-empty list"),
        ({"placeholders": {"": [1]}}, "is empty"),
    ],
)
def test_faults_are_reported_before_training(
    change: dict[str, Any], says: str, files: dict[str, str]
) -> None:
    options = text2sql.Options(**{"database": files["db.sql"], **change})
    for find in (text2sql.check, lambda options: text2sql.load([], options)):
        with pytest.raises(UserError) as caught:
            find(options)
        (fault,) = caught.value.faults
        assert says in fault and fault.startswith("data.task_options.")


def test_all_faults_are_reported_together() -> None:
    options = {"database": "a.db", "schema_file": "b.sql"}
    with pytest.raises(UserError) as caught:
        text2sql.check(text2sql.Options.model_validate(options))
    assert len(caught.value.faults) == 2


@pytest.mark.parametrize(
    ("sql", "says"),
    [
        ("  ", "row 7: `sql` is '  ', expected text"),
        (";", "row 7: `sql` is not one statement: ';'"),
        ("SELECT 1; SELECT 2", "row 7: `sql` is not one statement: 'SELECT 1; SELECT 2'"),
    ],
)
def test_a_row_without_a_reference_is_an_error(sql: str, says: str, files: dict[str, str]) -> None:
    with pytest.raises(UserError) as caught:
        make(files, sql)
    assert says in caught.value.faults[0]


def test_text_after_a_reference_is_dropped(files: dict[str, str]) -> None:
    assert make(files, "SELECT ';' ;; -- fin;\n").target == "SELECT ';'"


def test_failing_references_are_listed_by_id(files: dict[str, str]) -> None:
    with pytest.raises(UserError, match=r"the sql of 1 rows \(ids 7\).*no such table: ríos"):
        text2sql.score(make(files, "SELECT * FROM ríos"), "SELECT 1")
    examples = [make(files, f"SELECT * FROM ríos{i}") for i in range(7)]
    with pytest.raises(UserError, match=r"7 rows \(ids 7, 7, 7, 7, 7, \.\.\.\)"):
        text2sql.score_all(examples, ["SELECT 1"] * 7)


def test_a_missing_database_is_an_error_with_the_accepted_kinds(files: dict[str, str]) -> None:
    example = make(files, "SELECT 1")
    gone = dataclasses.replace(example, inputs={**example.inputs, "database": "/gone.sqlite"})
    with pytest.raises(UserError, match=r"/gone\.sqlite does not exist; give a path to \.sqlite, "):
        text2sql.score(gone, "SELECT 1")


@pytest.mark.parametrize(
    ("dialect", "gold", "reply"),
    [
        (
            "tsql",
            "SELECT TOP 1 [nombre] FROM dbo.rutas WHERE nombre LIKE '%[a-e]%' ORDER BY km DESC",
            "select top (1) NOMBRE from rutas where id <> <id> and km > 15",
        ),
        (
            "postgres",
            "SELECT nombre FROM public.rutas WHERE nombre ILIKE 'al%' FETCH FIRST 1 ROW ONLY",
            'SELECT "nombre" FROM rutas WHERE km::int = 20 AND id <> <id> LIMIT 1',
        ),
        (
            "duckdb",
            "FROM rutas SELECT nombre ORDER BY km DESC LIMIT 1",
            "SELECT max_by(nombre, km) FROM rutas WHERE id <> <id>",
        ),
        (
            "sqlite",
            "SELECT nombre, MAX(km) FROM rutas",
            "SELECT nombre, km FROM rutas WHERE id > <id> ORDER BY 2 DESC LIMIT 1",
        ),
    ],
)
def test_each_dialect_is_scored(dialect: str, gold: str, reply: str, files: dict[str, str]) -> None:
    """The reply holds for the first two bound values only."""
    for values, right in (([1, 2], 1.0), ([1, 2, 3], 0.0)):
        example = make(files, gold, dialect=dialect, placeholders={"<id>": values})
        scores = text2sql.score(example, reply)
        assert (scores["execution_accuracy"], scores["valid_sql"]) == (right, 1.0)
        assert text2sql.score(example, gold) == RIGHT
