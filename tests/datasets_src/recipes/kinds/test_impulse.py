"""IMPULSE's batches: what breaks the schema is counted, wordings keep what they must."""

import json
from pathlib import Path
from typing import Any

import pytest

from datasets_src.errors import UserError
from datasets_src.generators.consultas import batches
from datasets_src.recipes.kinds.impulse import lost_by
from datasets_src.recipes.sources.query_batches import BatchQuery, quality, read_batches
from datasets_src.tasks import query_json as task
from tests.recipe_tools import build_recipe, build_rows, left_out, rows_of
from tests.servers.teacher_server import TeacherServer, last_user

BATCHES = Path("datasets_src/shipped/consultas/batches")
GOLD = Path("../shared/data/impulse/sample_queries_gold.jsonl")


def query(
    id: str = "Q1", text: str = "projectes Altotello del 2019", **more: Any
) -> dict[str, Any]:
    filters = dict.fromkeys(("funding_level", "location", "location_level"))
    return {
        "meta": {"id": id, "lang": "CA", "original_query": text},
        "filters": {"programme": "Altotello", "year": "2019", **filters},
        "organisations": [],
        "semantic_query": None,
        "query_rewrite": "Llista de projectes Altotello del 2019",
        **more,
    }


def organisation(type: str = "university", level: str | None = None) -> dict[str, Any]:
    return {"type": type, "name": "UVL", "location": None, "location_level": level}


def test_the_generator_reproduces_the_committed_bytes() -> None:
    for name, text in batches.generate().items():
        assert (BATCHES / name).read_bytes() == text.encode(), name


def test_a_list_and_an_object_with_queries_are_read(tmp_path: Path) -> None:
    built = build_recipe("impulse", {"batches": [str(BATCHES)]}, tmp_path)
    rows = rows_of(built)
    assert len(rows) == batches.NUM_QUERIES
    assert built.record["report"]["num_without_fault"] == batches.NUM_QUERIES
    first = rows[0]
    target = json.loads(first["target"])
    assert "id" not in target["meta"]
    assert target["meta"]["original_query"] == first["query"]
    examples = list(task.load(rows, task.Options()))
    assert all(task.score(example, example.target)["strict"] == 1 for example in examples)


BROKEN = {
    "organisations.type: unknown value": query(organisations=[organisation("firm")]),
    "organisations.location_level: unknown value": query(
        organisations=[organisation(), organisation(level="nuts3")]
    ),
    "filters: missing": {k: v for k, v in query().items() if k != "filters"},
    "filters.year: missing": query(filters={"programme": None}),
    "filters.year: wrong kind of value": query(filters={**query()["filters"], "year": 2019}),
    "meta.lang: unknown value": query(meta={"id": "Q", "lang": "FR", "original_query": "x"}),
    "meta.original_query: missing": query(meta={"id": "Q", "lang": "CA"}),
    "meta: without notes": query(
        meta={"id": "Q", "lang": "CA", "original_query": "x", "resolvability": "Partial"}
    ),
    "colour: unknown field": query(colour="red"),
}


@pytest.mark.parametrize("reason", BROKEN)
def test_what_breaks_the_schema_is_counted_by_field(reason: str, tmp_path: Path) -> None:
    rows = [query(f"Q{n}", f"projectes Altotello del 2019 ({n})") for n in range(9)]
    (tmp_path / "batch1.json").write_text(json.dumps({"queries": [*rows, BROKEN[reason]]}))
    built = build_recipe("impulse", {"batches": [str(tmp_path)]}, tmp_path, max_bad_items=0.1)
    assert len(rows_of(built)) == 9
    assert reason in built.record["report"]["faults"]
    assert built.record["report"]["faults"][reason]["num"] == 1
    assert sum(left_out(built).values()) == 1
    with pytest.raises(UserError, match=r"max_bad_items: 1 of 10 items are at fault"):
        build_rows("impulse", {"batches": [str(tmp_path)]}, tmp_path / "strict")


def test_the_report_has_all_faults_of_a_query_and_repeated_ones(tmp_path: Path) -> None:
    two = query("Q2", organisations=[organisation("firm")], colour="red")
    rows = [query("Q1", "Projectes: Altotello del 2019"), two, query("Q3", "altres")]
    (tmp_path / "batch1.json").write_text(json.dumps(rows))
    found = quality(read_batches([str(tmp_path)], key="options.batches"))
    assert found["num_queries"] == 3
    assert found["languages"] == {"ca": 2}
    assert found["query_types"] == {"discover": 2}
    assert found["faults"] == {
        "colour: unknown field": {"num": 1, "first": ["Q2"]},
        "organisations.type: unknown value": {"num": 1, "first": ["Q2"]},
        "the same query again": {"num": 1, "first": ["Q2"]},
    }


def test_ids_that_two_batches_use_are_replaced(tmp_path: Path) -> None:
    for number in (1, 2):
        rows = [query("Q1", f"projectes Altotello {number}"), query(f"own{number}", f"de {number}")]
        (tmp_path / f"batch{number}.json").write_text(json.dumps(rows))
    found = read_batches([str(tmp_path)], key="options.batches")
    assert [one.id for one in found] == ["batch1:1", "own1", "batch2:1", "own2"]


def reworded(body: dict[str, Any]) -> str:
    """One wording that keeps all, one that loses its numbers and names."""
    text = last_user(body).rsplit("\n\n", 1)[-1]
    return json.dumps({"wordings": [f"mostra'm {text}", "mostra'm el que hi hagi"]})


def test_wordings_stay_with_their_query_and_lose_nothing(tmp_path: Path) -> None:
    rows = [
        query(f"Q{n}", f"projectes Altotello del 20{n}", filters={**query()["filters"], "year": n})
        for n in ("18", "19", "20")
    ]
    for row, year in zip(rows, ("2018", "2019", "2020"), strict=True):
        row["filters"]["year"] = year
    (tmp_path / "batch1.json").write_text(json.dumps(rows))
    teacher = TeacherServer(reworded)
    options = {"batches": [str(tmp_path)], "num_wordings": 2}
    built = build_recipe("impulse", options, tmp_path, teacher=teacher)
    teacher.close()
    made = rows_of(built)
    assert [(row["id"], row["group"], row["origin"]) for row in made[:2]] == [
        ("Q18", "Q18", "given"),
        ("Q18~1", "Q18", "teacher"),
    ]
    assert made[1]["query"] == "mostra'm projectes Altotello del 2018"
    assert json.loads(made[1]["target"])["filters"]["year"] == "2018"
    assert len(made) == 6
    assert left_out(built) == {"a wording that loses a number or an acronym": 3}


@pytest.mark.parametrize(
    ("wording", "lost"),
    [
        ("quins projectes Altotello hi ha de 2019?", ""),
        ("quins projectes hi ha de 2019?", "loses a name"),
        ("quins projectes Altotello hi ha?", "loses a number or an acronym"),
        ("quins 20 projectes Altotello hi ha de 2019?", "adds a number"),
        ("which projects of Altotello are there from 2019?", "is in another language"),
    ],
)
def test_a_wording_must_leave_its_target_right(wording: str, lost: str) -> None:
    row = query()
    asked = BatchQuery("Q1", row, row["meta"]["original_query"], "ca", ())
    assert lost_by(wording, asked) == lost


def test_bad_paths_are_one_line(tmp_path: Path) -> None:
    (tmp_path / "torn.json").write_text('{"queries": [')
    for given, message in (
        ("nowhere.json", "options.batches: nowhere.json: no such file"),
        (str(tmp_path), "holds no batch"),
        (str(tmp_path / "torn.json"), r"torn\.json:1: not JSON"),
    ):
        with pytest.raises(UserError, match=message):
            build_rows("impulse", {"batches": [given]}, tmp_path)


@pytest.mark.skipif(not GOLD.exists(), reason="IMPULSE's sample queries are not here")
def test_the_authors_samples_are_without_fault(tmp_path: Path) -> None:
    rows = build_rows("impulse", {"batches": [str(GOLD)]}, tmp_path)
    assert len(rows) == 10
