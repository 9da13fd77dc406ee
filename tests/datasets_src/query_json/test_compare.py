"""Query comparison, field by field."""

import json
from typing import Any

import pytest

from datasets_src.query_json.compare import METRICS, Tables, compare
from datasets_src.query_json.equivalence import Table
from datasets_src.query_json.years import meaning
from datasets_src.text.folding import MAX_FOLDED, fold, words
from datasets_src.text.language import detect

GOLD: dict[str, Any] = {
    "doc_type": "projects",
    "filters": {
        "programme": "Horizon 2020",
        "funding_level": "european",
        "year": "2018-2020",
        "location": "Girona",
        "location_level": "province",
    },
    "organisations": [
        {
            "type": "university",
            "name": "Universitat de Lleida",
            "location": None,
            "location_level": None,
        },
        {"type": "hospital", "name": None, "location": "Girona", "location_level": "province"},
    ],
    "semantic_query": "animals de granja",
    "query_rewrite": "Llista de projectes de la Universitat de Lleida sobre animals de granja",
    "meta": {"lang": "CA"},
}
TABLES = Tables(
    organisations=Table({"udl": "universitat de lleida"}),
    programmes=Table({"h2020": "horizon 2020"}),
    types=Table({"universitat": "university"}),
    places=Table({"gerona": "girona"}),
    topics=Table({"ramaderia": "animals de granja", "bestiar": "animals"}),
)


def scores(change: dict[str, Any], gold: dict[str, Any] = GOLD) -> dict[str, float]:
    """Of the gold query with some of its keys changed, e.g. {"filters": {"year": "2019"}}."""
    given = json.loads(json.dumps(gold))
    for key, value in change.items():
        inner = isinstance(value, dict) and isinstance(given.get(key), dict)
        given[key] = given[key] | value if inner else value
    return compare(gold, given, TABLES, language="ca")


def wrong(change: dict[str, Any], gold: dict[str, Any] = GOLD) -> set[str]:
    """Metrics below 1, without the aggregate ones."""
    found = scores(change, gold)
    assert found["strict"] <= found["relaxed"] or "quantity" in found
    return {name for name, value in found.items() if value < 1} - {"strict", "relaxed"}


def organisations(*changes: dict[str, Any]) -> dict[str, Any]:
    pairs = zip(GOLD["organisations"], changes, strict=True)
    return {"organisations": [item | change for item, change in pairs]}


def test_the_gold_query_is_right() -> None:
    assert wrong({}) == set()
    assert set(scores({})) == set(METRICS) - {"quantity"}


def test_a_reply_that_is_not_an_object_scores_0() -> None:
    assert set(compare(GOLD, None, TABLES, language="ca").values()) == {0.0}


def test_a_missing_key_is_not_a_correct_null() -> None:
    nulls = GOLD | {
        "filters": dict.fromkeys(GOLD["filters"]),
        "organisations": [],
        "semantic_query": None,
    }
    empty: list[dict[str, Any]] = [{}, {"filters": {}}, {"filters": None}, {"filters": "none"}]
    for given in empty:
        found = compare(nulls, given, TABLES, language="ca")
        assert {name for name, value in found.items() if value} == {"valid_json"}


@pytest.mark.parametrize(
    "change",
    [
        {"filters": {"programme": "H2020", "location": "GERONA", "year": "2018 - 2020"}},
        organisations({"name": "UdL"}, {"location": "Gerona"}),
        {"semantic_query": "Ramaderia"},
        {"semantic_query": "animals granja"},
        {"doc_type": "Projects"},
    ],
)
def test_equivalent_values_are_right(change: dict[str, Any]) -> None:
    assert wrong(change) == set() and scores(change)["strict"] == 1


@pytest.mark.parametrize(
    ("change", "names"),
    [
        ({"doc_type": "publications"}, {"doc_type"}),
        ({"filters": {"programme": "ERC"}}, {"programme"}),
        ({"filters": {"programme": None}}, {"programme"}),
        ({"filters": {"programme": ["Horizon 2020"]}}, {"programme", "schema_valid"}),
        ({"filters": {"funding_level": "regional"}}, {"funding_level"}),
        ({"filters": {"year": "2018-2021"}}, {"year"}),
        ({"filters": {"year": 2018}}, {"year", "schema_valid"}),
        ({"filters": {"location": "Lleida"}}, {"location"}),
        ({"filters": {"location_level": "city"}}, {"location_level"}),
        ({"semantic_query": "animals de companyia"}, {"semantic"}),
        ({"semantic_query": None}, {"semantic"}),
        ({"semantic_query": 7}, {"semantic", "schema_valid"}),
        ({"extra": 1}, {"schema_valid"}),
        ({"meta": None}, {"schema_valid"}),
    ],
)
def test_each_fault_lowers_its_own_metric(change: dict[str, Any], names: set[str]) -> None:
    assert wrong(change) == names and scores(change)["strict"] == 0


@pytest.mark.parametrize(
    ("written", "also"),
    [
        *(("2023", "=2023"), ("2023", "2023-2023"), (">=2020", "≥ 2020"), (">=2020", ">2019")),
        *((">=2020", "2020-"), ("<=2020", "<2021"), ("2018-2020", "2018 – 2020")),
        ("2018-2020", " 2018/2020 "),
    ],
)
def test_equivalent_years(written: str, also: str) -> None:
    assert meaning(written) == meaning(also)


def test_different_years() -> None:
    texts = ["2023", ">=2023", "<=2023", ">2023", "2022-2023", "2023-2022", "the 90s", "2023-24"]
    assert len({meaning(text) for text in texts}) == len(texts)
    assert wrong({"filters": {"year": True}}, GOLD | {"filters": GOLD["filters"] | {"year": "1"}})


def test_a_numeric_year_is_right_but_violates_the_schema() -> None:
    gold = GOLD | {"filters": GOLD["filters"] | {"year": "2018"}}
    assert wrong({"filters": {"year": 2018}}, gold) == {"schema_valid"}


def test_organisations_have_no_order() -> None:
    assert wrong({"organisations": GOLD["organisations"][::-1]}) == set()


BOTH = {"organisations_exact", "organisations_relaxed"}


@pytest.mark.parametrize(
    ("change", "names"),
    [
        (organisations({"type": "company"}, {}), {"organisations_exact"}),
        (organisations({"type": "universitat"}, {}), {"schema_valid"}),
        (organisations({"location": "Girona"}, {}), {"organisations_exact"}),
        (organisations({}, {"location_level": "city"}), {"organisations_exact"}),
        (organisations({"name": "UB"}, {}), BOTH),
        (organisations({}, {"type": "company"}), BOTH),
        (organisations({}, {"location": "Lleida"}), BOTH),
        ({"organisations": GOLD["organisations"][:1]}, BOTH),
        ({"organisations": GOLD["organisations"][:1] * 2}, BOTH),
        ({"organisations": [*GOLD["organisations"], GOLD["organisations"][0]]}, BOTH),
        ({"organisations": []}, BOTH),
        ({"organisations": None}, BOTH | {"schema_valid"}),
        ({"organisations": "UdL"}, BOTH | {"schema_valid"}),
        ({"organisations": ["Universitat de Lleida", None]}, BOTH | {"schema_valid"}),
        ({"organisations": [{"name": "UdL"}, {"name": None}]}, BOTH | {"schema_valid"}),
        (organisations({"name": {"a": []}}, {}), BOTH | {"schema_valid"}),
    ],
)
def test_each_fault_of_organisations(change: dict[str, Any], names: set[str]) -> None:
    assert wrong(change) == names


def test_relaxed_ignores_details_of_organisations_and_the_language() -> None:
    english = "List of projects by the Universitat de Lleida on farm animals"
    for change in (organisations({"type": "company"}, {}), {"query_rewrite": english}):
        found = scores(change)
        assert (found["strict"], found["relaxed"]) == (0, 1)


def test_quantity_metrics() -> None:
    gold = GOLD | {"metric": "top", "metric_params": {"k": 5, "field": "organisation"}}
    assert scores({}, gold)["quantity"] == 1
    assert wrong({"metric_params": {"group_by": None, "field": "Organisation"}}, gold) == set()
    for change in ({"metric": "count"}, {"metric": None}, {"metric_params": {"k": 3}}):
        assert wrong(change, gold) == {"quantity"}
    assert wrong({"metric_params": [5]}, gold) == {"quantity", "schema_valid"}
    for unasked in ({"metric": "count"}, {"metric_params": {"k": 5}}):
        found = scores(unasked)
        assert (found["strict"], found["relaxed"], "quantity" in found) == (0, 0, False)
    assert scores({"metric": None, "metric_params": {}})["strict"] == 1


def test_a_document_type_counts_where_the_gold_query_has_one() -> None:
    gold = {name: value for name, value in GOLD.items() if name != "doc_type"}
    found = scores({"doc_type": "publications"}, gold)
    assert "doc_type" not in found and found["strict"] == found["relaxed"] == 1


@pytest.mark.parametrize(
    ("gold", "given", "right"),
    [
        ("energia de mar", "energia de vent", 0),  # one of two words; with "de" two of three
        ("canvi climàtic", "canvi climatic", 1),
        ("canvi climàtic i oceans", "canvi climàtic", 1),
        ("canvi climàtic", "canvi climàtic als oceans profunds", 0),
        ("intel·ligència artificial", "intelligencia artificial", 1),
        ("bestiar de granja", "animals de granja", 1),
        ("el i la", "i el", 1),
        ("el i la", "de", 0),
        (None, None, 1),
        (None, "animals", 0),
    ],
)
def test_more_than_half_of_the_words(gold: str | None, given: str | None, right: int) -> None:
    query = GOLD | {"semantic_query": gold}
    assert scores({"semantic_query": given}, query)["semantic"] == right


@pytest.mark.parametrize(
    ("rewrite", "right"),
    [
        ("Projectes que tracten la cria d'animals", 1),
        ("LLISTA DE PROJECTES de la universitat de lleida sobre animals de granja", 1),
        ("Lista de proyectos sobre animales de granja", 0),
        ("List of projects on farm animals", 0),
        ("Lista de proyectos de la Universitat de Lleida", 0),
        ("項目清單", 0),
        ("7", 0),
        (None, 1),  # then the semantic query is read, which is Catalan
    ],
)
def test_the_language_of_the_reply(rewrite: str | None, right: int) -> None:
    assert scores({"query_rewrite": rewrite})["language"] == right


def test_a_reply_without_words_is_right_if_the_gold_has_none() -> None:
    silent = GOLD | {"query_rewrite": None, "semantic_query": None}
    assert scores({}, silent)["language"] == 1
    assert scores({"query_rewrite": None, "semantic_query": None})["language"] == 0


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("quins projectes hi ha sobre aigua?", "ca"),
        ("¿qué proyectos hay sobre agua?", "es"),
        ("which projects are there on water?", "en"),
        # The authors looked for "in", "by" and "sobre" anywhere in the text.
        ("proyectos sobre bytes y administración", "es"),
        ("projectes de biotecnologia marina", "ca"),
        ("", None),
        ("2020", None),
        ("\ud800", None),
    ],
)
def test_detect(text: str, language: str | None) -> None:
    assert detect(text) == language


def test_names_do_not_affect_the_language() -> None:
    text = "List of projects by Agència Blava"
    assert detect(text) == "ca" and detect(text, without={"agencia", "blava"}) == "en"
    assert detect("Agència Blava", without={"agencia", "blava"}) == "ca"


def test_the_rewrite_is_compared_word_by_word() -> None:
    assert scores({"query_rewrite": "Llista de projectes"})["rewrite"] == pytest.approx(6 / 15)
    for given in (None, 7, "?", "\ud800"):
        assert scores({"query_rewrite": given})["rewrite"] == 0


def test_folding() -> None:
    assert fold("  L’Institut\tCATALÀ\n") == "l'institut catala"
    assert words("la qualitat de l'aigua") == {"qualitat", "aigua"} and words("de la") == {
        *("de", "la")
    }
    long = "À" * (MAX_FOLDED + 1)
    assert fold(long) == long and fold(long[1:]) == "a" * MAX_FOLDED
