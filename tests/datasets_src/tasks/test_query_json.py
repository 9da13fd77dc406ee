"""The query_json task end to end, without the faults of its authors' scorer."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from datasets_src.errors import UserError
from datasets_src.examples import mapped_rows
from datasets_src.tasks import query_json
from datasets_src.types import Example
from trainers.config.load import load_config

ROOT = Path(__file__).resolve().parents[3]
IMPULSE = ROOT / "../shared/data/impulse"
needs_impulse = pytest.mark.skipif(
    not IMPULSE.is_dir(), reason=f"IMPULSE's rows are not in {IMPULSE}"
)
TARGET: dict[str, Any] = {
    "doc_type": "projects",
    "filters": {
        "programme": "Talaia",
        "funding_level": None,
        "year": ">=2020",
        "location": None,
        "location_level": None,
    },
    "organisations": [
        {"type": "university", "name": "Universitat Nova", "location": None, "location_level": None}
    ],
    "semantic_query": "aigua",
    "query_rewrite": "Llista de projectes Talaia de la Universitat Nova des del 2020 sobre aigua",
    "meta": {"id": "q7", "lang": "CA", "original_query": "aigua, UN, Talaia 2020"},
}
ROW: dict[str, Any] = {
    "id": "q7",
    "group": "g",
    "query": "aigua, UN, Talaia 2020",
    "target": TARGET,
    "split": "train",
}


def make(row: Mapping[str, Any] = ROW, **options: Any) -> Example:
    return next(query_json.load([row], query_json.Options(**options)))


@pytest.fixture(scope="module")
def impulse() -> list[Example]:
    options = query_json.Options(
        organisations_file=str(IMPULSE / "ror_mappings.json"),
        programmes_file=str(IMPULSE / "framework_mappings.tsv"),
        types_file=str(IMPULSE / "organization_type_mappings.tsv"),
        places_file=str(IMPULSE / "geographic_mappings.tsv"),
        ambiguous_names="apart",
    )
    lines = (IMPULSE / "sample_queries_gold.jsonl").read_text("utf-8").splitlines()
    rows = [json.loads(line) for line in lines]
    assert len(rows) == 10
    mapped = [{"query": row["meta"]["original_query"], "target": row} for row in rows]
    return list(query_json.load(mapped, options))


def test_the_target_is_the_authors_json_without_its_id() -> None:
    text = make().target
    expected = TARGET | {"meta": {"lang": "CA", "original_query": "aigua, UN, Talaia 2020"}}
    assert json.loads(text) == expected and list(json.loads(text)) == list(TARGET)
    assert text == json.dumps(expected, indent=2, ensure_ascii=False)
    compact = make(target_form="compact").target
    assert json.loads(compact) == expected and len(compact) < 0.8 * len(text)
    assert '": ' not in compact and "\n" not in compact


def test_a_target_is_an_object_or_its_text_and_keeps_what_the_schema_knows() -> None:
    as_text = make(ROW | {"target": json.dumps(TARGET)})
    whole_row = make(ROW | {"target": {**TARGET, "split": "train", "id": "q7"}})
    assert as_text == whole_row == make()
    assert make().inputs["language"] == "ca"
    json.dumps(make().inputs)  # what the store does with it


def test_prompts(tmp_path: Path) -> None:
    assert query_json.to_messages(make()) == [{"role": "user", "content": ROW["query"]}]
    system = tmp_path / "system.txt"
    system.write_text("Answer in JSON.\n", encoding="utf-8")
    prompted = make(system_prompt_file=str(system), target_form="compact")
    assert query_json.to_messages(prompted) == [
        {"role": "system", "content": "Answer in JSON."},
        {"role": "user", "content": ROW["query"]},
    ]
    assert query_json.to_text(prompted) == (
        f"Answer in JSON.\n\n### Query: {ROW['query']}\n### JSON:\n",
        f"{prompted.target}\n\n",
    )
    assert query_json.to_text(make())[0] == f"### Query: {ROW['query']}\n### JSON:\n"
    for form in ("authors", "compact"):
        assert query_json.STOP[0] not in make(target_form=form).target


def test_slices() -> None:
    assert query_json.slices(make()) == {
        "language": "ca",
        "query_type": "discover",
        "shape": "filters+organisations+topic",
    }
    nothing = TARGET | {
        "metric": "count",
        "filters": dict.fromkeys(TARGET["filters"]),
        "organisations": [],
        "semantic_query": None,
    }
    assert query_json.slices(make(ROW | {"target": nothing})) == {
        "language": "ca",
        "query_type": "quantify",
        "shape": "nothing",
    }


@needs_impulse
def test_impulse_gold_scores_1_and_an_empty_reply_0(impulse: list[Example]) -> None:
    for example in impulse:
        scores = query_json.score(example, example.target)
        assert set(scores.values()) == {1.0}, (example.id, scores)
        assert query_json.why(example, example.target, scores) == ""
        fenced = f"```json\n{example.target}\n```"
        assert query_json.score(example, fenced) == scores
        for bad in ("", "Here you are", example.target[:-1], '"x"', "[]", "{}}"):
            assert set(query_json.score(example, bad).values()) == {0.0}
    languages = [query_json.slices(example)["language"] for example in impulse]
    assert sorted(languages) == ["ca"] * 3 + ["en"] * 5 + ["es"] * 2


@needs_impulse
def test_impulse_organisations_in_another_order_and_under_other_names(
    impulse: list[Example],
) -> None:
    for example in impulse:
        query = json.loads(example.target)
        query["organisations"].reverse()
        assert query_json.score(example, json.dumps(query))["organisations_exact"] == 1.0
    assert max(len(json.loads(example.target)["organisations"]) for example in impulse) == 2
    for index, name in ((2, "University of Lleida"), (2, "UdL"), (3, "UB")):
        query = json.loads(impulse[index].target)
        query["organisations"][0]["name"] = name
        assert query_json.score(impulse[index], json.dumps(query))["strict"] == 1.0
        query["organisations"][0]["name"] = "UAB"
        assert query_json.score(impulse[index], json.dumps(query))["organisations_relaxed"] == 0.0


@needs_impulse
def test_impulse_rows_are_read_by_a_yaml_as_they_are(
    tmp_path: Path, impulse: list[Example], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    config, _ = load_config(Path("jobs/configs/impulse_query_json.yaml"))
    lines = (IMPULSE / "sample_queries_gold.jsonl").read_text("utf-8").splitlines()
    batch = tmp_path / "batch1.json"
    batch.write_text(f'{{"queries": [{", ".join(lines)}]}}', encoding="utf-8")
    for file in (config.data.train_file, str(batch)):
        rows = mapped_rows(config.data, query_json, "data.train_file", Path(file), bad=None)
        options = query_json.Options.model_validate(config.data.task_options)
        examples = list(query_json.load(rows, options))
        assert [example.id for example in examples] == [f"SAMPLE_{i:03d}" for i in range(1, 11)]
        assert [example.target for example in examples] == [row.target for row in impulse]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({}, ""),
        ({"filters": {"programme": "ERC"}}, "wrong programme"),
        ({"filters": {"programme": "ERC", "year": "2019"}}, "wrong programme, wrong year"),
        ({"filters": {"year": None}, "doc_type": "papers"}, "wrong document type, wrong year"),
        ({"organisations": []}, "wrong organisations"),
        ({"organisations": [TARGET["organisations"][0] | {"type": None}]}, "wrong type or place"),
        ({"semantic_query": "foc"}, "wrong semantic query"),
        ({"semantic_query": "aigua Talaia 2020"}, "extra filter in the semantic query"),
        ({"semantic_query": "aigua salada freda"}, "wrong semantic query"),
        ({"query_rewrite": "Lista de proyectos desde el año 2020"}, "language mismatch"),
        ({"metric": "count"}, "a quantity although the query has none"),
        ({"meta": {}}, "violates the schema (meta.lang: Field required)"),
        (
            {"filters": {"programme": 1, "year": "1", "location": "x"}, "organisations": 1},
            "wrong programme, wrong organisations, wrong year",
        ),
    ],
)
def test_why_names_the_worst_first(change: dict[str, Any], says: str) -> None:
    given = {
        key: TARGET[key] | value if key == "filters" else value for key, value in change.items()
    }
    example, reply = make(), json.dumps(TARGET | given)
    why = query_json.why(example, reply, query_json.score(example, reply))
    assert why.startswith(says) and bool(why) is bool(says)


def test_why_of_invalid_json() -> None:
    example = make()
    for reply, says in (("", "invalid JSON (empty)"), ("hola", "invalid JSON")):
        assert query_json.why(example, reply, query_json.score(example, reply)) == says


def test_examples_carry_the_same_tables_for_every_model(tmp_path: Path) -> None:
    table = tmp_path / "organisations.json"
    table.write_text('{"Universitat Nova": ["UN"]}', encoding="utf-8")
    reply = json.dumps(TARGET | {"organisations": [TARGET["organisations"][0] | {"name": "UN"}]})
    assert query_json.score(make(), reply)["strict"] == 0.0
    with_table = make(organisations_file=str(table))
    stored = json.loads(json.dumps(dict(with_table.inputs)))
    again = Example(id="1", group="g", inputs=stored, target=with_table.target)
    for example in (with_table, again):
        assert query_json.score(example, reply)["strict"] == 1.0


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"query": " "}, "`query` is ' ', expected text"),
        ({"target": "{"}, "`target` is not a JSON object"),
        ({"target": [TARGET]}, "`target` is not a JSON object"),
        ({"target": TARGET | {"meta": {"id": "1"}}}, "`target`.meta.lang: Field required"),
        ({"target": TARGET | {"filters": {}}}, "`target`.filters.programme: Field required"),
    ],
)
def test_a_row_without_a_query_is_an_error(change: dict[str, Any], says: str) -> None:
    with pytest.raises(UserError) as caught:
        make(ROW | change)
    [line] = caught.value.faults
    assert line.startswith(f"data.train_file: row q7: {says}") and line.endswith("remove the row")


def test_all_faults_of_the_options_are_reported_together(tmp_path: Path) -> None:
    circle = tmp_path / "circle.tsv"
    circle.write_text("name\tcanonical\na\tb\nb\ta\n", encoding="utf-8")
    options = query_json.Options(
        places_file=str(circle), types_file="nowhere.tsv", system_prompt_file="nowhere.txt"
    )
    for find in (query_json.check, lambda options: query_json.load([], options)):
        with pytest.raises(UserError) as caught:
            find(options)
        prompt, types, places = caught.value.faults
        assert prompt.startswith("data.task_options.system_prompt_file: nowhere.txt cannot be read")
        assert "types_file" in types and "nowhere.tsv: cannot be read" in types
        assert f"places_file: {circle}: 'a' -> 'b' -> 'a' is a cycle" in places or (
            f"places_file: {circle}: 'b' -> 'a' -> 'b' is a cycle" in places
        )
