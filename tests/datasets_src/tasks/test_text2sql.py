"""The task as its users meet it: rows in, prompts and scores out, faults before training."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from datasets_src.errors import UserError
from datasets_src.scoring import best_constant, score_replies
from datasets_src.tasks import text2sql
from datasets_src.types import Example

BIOSENDA = Path(__file__).resolve().parents[3] / "../shared/data/biosenda"
DUMP = """
CREATE TABLE rutas (id INTEGER, nombre TEXT, km REAL);
INSERT INTO rutas VALUES (1, 'La Peña', 3.5), (2, 'El Río', 12), (3, 'Alta', 20);
"""
RIGHT = {"execution_accuracy": 1.0, "ordered_match": 1.0, "exact_match": 1.0, "valid_sql": 1.0}


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("text2sql")
    texts = {"db.sql": DUMP, "schema.sql": "CREATE TABLE rutas (...)\n", "ids.json": "[1, 2, 3]"}
    for name, text in texts.items():
        (folder / name).write_text(text, encoding="utf-8")
    return {name: str(folder / name) for name in texts}


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


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        ("SELECT nombre FROM rutas WHERE km > 5;", RIGHT),
        ("```sql\nselect  nombre\nFROM rutas WHERE km>5\n```", RIGHT),
        ("SELECT nombre AS n FROM rutas WHERE km > 4", {**RIGHT, "exact_match": 0.0}),
        (
            "SELECT nombre FROM rutas WHERE km > 5 ORDER BY id DESC",
            {**RIGHT, "ordered_match": 0.0, "exact_match": 0.0},
        ),
        ("SELECT nombre FROM rutas", {**dict.fromkeys(RIGHT, 0.0), "valid_sql": 1.0}),
        ("", dict.fromkeys(RIGHT, 0.0)),
        ("No lo sé; quizá mañana.", dict.fromkeys(RIGHT, 0.0)),
        ("None", dict.fromkeys(RIGHT, 0.0)),
        ("DROP TABLE rutas", dict.fromkeys(RIGHT, 0.0)),
    ],
)
def test_scores(reply: str, expected: dict[str, float], files: dict[str, str]) -> None:
    example = make(files, "SELECT nombre FROM rutas WHERE km > 5")
    assert text2sql.score(example, reply) == expected


@settings(max_examples=40, deadline=None)
@given(reply=st.text(max_size=80))
def test_any_reply_has_scores(reply: str, files: dict[str, str]) -> None:
    scores = text2sql.score(make(files, "SELECT 'gallipato'"), reply)
    assert set(scores) == set(text2sql.METRICS) and set(scores.values()) <= {0.0, 1.0}
    assert scores["execution_accuracy"] == 0.0


def test_placeholders_are_bound_over_values_given_or_read(files: dict[str, str]) -> None:
    gold = "SELECT nombre FROM rutas WHERE id = <id>"
    for values in ([1, 2], files["ids.json"]):
        example = make(files, gold, placeholders={"<id>": values})
        assert text2sql.score(example, "SELECT nombre FROM rutas WHERE <id> = id")["valid_sql"] == 1
        first_only = text2sql.score(example, "SELECT 'La Peña'")
        assert first_only["execution_accuracy"] == 0.0
    example = make(files, gold, placeholders={"<id>": files["ids.json"]}, max_bound_values=1)
    assert text2sql.score(example, "SELECT 'La Peña'")["execution_accuracy"] == 1.0


@pytest.mark.parametrize(
    ("left", "right", "same"),
    [
        ("SELECT  A\nFROM t ;", "select a from T", True),
        ("SELECT count( * ) FROM t WHERE a>=1", "SELECT COUNT(*) FROM t WHERE a >= 1", True),
        ("SELECT 'A'", "SELECT 'a'", False),
        ("SELECT 'a  b'", "SELECT 'a b'", False),
        ("SELECT a b", "SELECT ab", False),
    ],
)
def test_normalise_sql(left: str, right: str, same: bool) -> None:
    assert (text2sql.normalise_sql(left) == text2sql.normalise_sql(right)) is same


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"database": None}, "database: not set"),
        ({"database": "nowhere.sqlite"}, "nowhere.sqlite does not exist"),
        ({"schema_file": "nowhere.sql"}, "schema_file: nowhere.sql cannot be read"),
        ({"placeholders": {"<id>": "nowhere.json"}}, "<id>: nowhere.json cannot be read"),
        ({"placeholders": {"<id>": []}}, "<id>: not a list"),
        ({"placeholders": {"": [1]}}, "is empty"),
    ],
)
def test_faults_are_found_before_training(
    change: dict[str, Any], says: str, files: dict[str, str]
) -> None:
    options = text2sql.Options(**{"database": files["db.sql"], **change})
    for find in (text2sql.check, lambda options: text2sql.load([], options)):
        with pytest.raises(UserError) as caught:
            find(options)
        (fault,) = caught.value.faults
        assert says in fault and fault.startswith("data.task_options.")


def test_all_faults_are_told_at_once() -> None:
    options = {"database": "a.db", "schema_file": "b.sql"}
    with pytest.raises(UserError) as caught:
        text2sql.check(text2sql.Options.model_validate(options))
    assert len(caught.value.faults) == 2


def test_a_row_without_sql_and_gold_that_does_not_run_are_named(files: dict[str, str]) -> None:
    with pytest.raises(UserError, match="row 7: `sql` is '  '"):
        make(files, "  ")
    with pytest.raises(UserError, match=r"1 rows \(ids 7\).*no such table: ríos"):
        text2sql.score(make(files, "SELECT * FROM ríos"), "SELECT 1")


@pytest.fixture(scope="module")
def biosenda() -> list[Example]:
    if not BIOSENDA.exists():
        pytest.skip(f"{BIOSENDA} is not there: the real rows of BioSenda are not ours to ship")
    given = {
        "dialect": "tsql",
        "database": str(BIOSENDA / "build_db.py"),
        "schema_file": str(BIOSENDA / "schema_prompt.sql"),
        "placeholders": {"<idtaxon>": str(BIOSENDA / "eval_taxa.json")},
    }
    options = text2sql.Options.model_validate(given)
    names = {"Prompt": "question", "SQL": "sql", "Indice": "group", "Split": "split"}
    lines = (BIOSENDA / "text2sql.jsonl").read_text(encoding="utf-8").splitlines()
    rows = [{names[key]: value for key, value in json.loads(line).items()} for line in lines]
    return list(text2sql.load(rows, options))


def test_every_real_gold_query_is_right_beside_itself(biosenda: list[Example]) -> None:
    scores = score_replies(text2sql, biosenda, [example.target for example in biosenda])
    assert len(scores) == 153 and all(row == RIGHT for row in scores)


def test_variants_of_real_gold_still_match(biosenda: list[Example]) -> None:
    """Other case, no dbo, sorted another way, under an alias: the same rows."""
    replies = []
    for number, example in enumerate(biosenda):
        inner = example.target.split("ORDER BY")[0].replace("dbo.", "").lower()
        replies.append(f"SELECT * FROM ({inner}) AS q{number} ORDER BY 1 DESC")
    # SELECT Null has a column without a name, which a derived table may not have.
    pairs = [(e, r) for e, r in zip(biosenda, replies, strict=True) if "Null" not in e.target]
    scores = score_replies(text2sql, [e for e, _ in pairs], [r for _, r in pairs])
    assert len(scores) == 81
    assert [row["execution_accuracy"] for row in scores] == [1.0] * 81
    assert sum(row["exact_match"] for row in scores) == 0


def test_the_constant_answer_of_biosenda_scores_9_of_21(biosenda: list[Example]) -> None:
    train = [example for example in biosenda if example.split == "Train"]
    test = [example for example in biosenda if example.split == "Test"]
    reply, rows = best_constant(text2sql, train, test, metric="execution_accuracy")
    assert reply == "SELECT Null"
    assert (sum(row["execution_accuracy"] for row in rows), len(rows)) == (9.0, 21)
