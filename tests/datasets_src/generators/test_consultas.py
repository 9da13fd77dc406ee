"""The shipped consultas set: its generator reproduces it, and its validation split is fair."""

import json
from collections import Counter, defaultdict
from typing import Any

from datasets_src.generators.consultas import generate
from datasets_src.generators.consultas.facts import LANGUAGES
from datasets_src.generators.consultas.families import DOMAINS, FAMILIES
from datasets_src.query_json.equivalence import open_table
from datasets_src.tasks import query_json

FOLDER = generate.FOLDER
ROWS: list[dict[str, Any]] = [
    json.loads(line) for line in (FOLDER / "queries.jsonl").read_text("utf-8").splitlines()
]
TRAIN = [row for row in ROWS if row["split"] == "train"]
VALIDATION = [row for row in ROWS if row["split"] == "validation"]
WORDINGS = generate.read_wordings()


def language(row: dict[str, Any]) -> str:
    return str(row["target"]["meta"]["lang"]).lower()


def wordings_of(row: dict[str, Any]) -> set[tuple[str, str, str]]:
    """(family, language, wording) of those that give the query with some texts of its slots."""
    family, *values = row["group"].split(":")
    slots = {
        name: next(c for c in DOMAINS[name] if c.value == value)
        for name, value in zip(FAMILIES[family].slots, values, strict=True)
    }
    found = set()
    for use in ("train", "validation"):
        for wording in WORDINGS[family, language(row), use]:
            queries = {wording}
            for name, choice in slots.items():
                queries = {
                    query.replace(f"{{{name}}}", choice.before.get(language(row), "") + text)
                    for query in queries
                    for text in choice.texts[language(row)]
                }
            if row["query"] in queries:
                found.add((family, language(row), wording))
    return found


def test_the_generator_reproduces_the_committed_bytes() -> None:
    for name, text in generate.generate().items():
        assert (FOLDER / name).read_bytes() == text.encode("utf-8"), name


def test_counts() -> None:
    assert (len(TRAIN), len(VALIDATION)) == (608, 84)
    assert len({row["id"] for row in ROWS}) == len(ROWS)
    assert (FOLDER / "queries.jsonl").stat().st_size < 350_000
    for rows in (TRAIN, VALIDATION):
        asked = Counter(map(language, rows))
        assert set(asked) == set(LANGUAGES) and min(asked.values()) > 0.3 * len(rows)
        assert 0.09 <= sum("metric" in row["target"] for row in rows) / len(rows) <= 0.12


def test_no_group_query_or_wording_is_in_both_splits() -> None:
    for held in ("group", "query"):
        assert not {row[held] for row in TRAIN} & {row[held] for row in VALIDATION}
    trained = set[tuple[str, str, str]]().union(*map(wordings_of, TRAIN))
    asked = set[tuple[str, str, str]]().union(*map(wordings_of, VALIDATION))
    assert not trained & asked
    assert len(asked) == len(FAMILIES) * 3
    assert len(trained) == len(FAMILIES) * 3 * 4


def test_a_group_is_one_query_in_three_languages_and_a_paraphrase() -> None:
    groups = defaultdict(list)
    for row in ROWS:
        groups[row["group"]].append(row)
    for group, rows in groups.items():
        assert set(map(language, rows)) == set(LANGUAGES), group
        assert (
            len(
                {
                    json.dumps([row["target"]["filters"], row["target"]["organisations"]])
                    for row in rows
                }
            )
            == 1
        )
        assert len(rows) == (4 if rows[0]["split"] == "train" else 3)


def test_every_value_asked_for_in_validation_is_trained_on() -> None:
    trained = {(language(row), value) for row in TRAIN for value in row["group"].split(":")}
    asked = {(language(row), value) for row in VALIDATION for value in row["group"].split(":")}
    assert asked <= trained


def test_every_target_is_by_the_schema_and_right() -> None:
    options = query_json.Options(
        target_form="compact",
        **{
            f"{name}_file": str(next(FOLDER.glob(f"{name}.*")))
            for name in ("organisations", "programmes", "types", "places")
        },
    )
    examples = list(query_json.load(ROWS, options))
    assert [example.id for example in examples] == [row["id"] for row in ROWS]
    for example in examples:
        assert set(query_json.score(example, example.target).values()) == {1.0}
    shapes = Counter(query_json.slices(example)["shape"] for example in examples)
    assert set(shapes) == {
        *("topic", "filters", "organisations"),
        *("filters+topic", "organisations+topic"),
    }


def test_names_that_queries_use_are_in_the_tables() -> None:
    for name, domain in (
        ("organisations.json", "org"),
        ("programmes.tsv", "programme"),
        ("types.tsv", "kind"),
        ("places.tsv", "place"),
    ):
        table = open_table(str(FOLDER / name), key=name, allow_ambiguous=False)
        for choice in DOMAINS[domain]:
            texts = {text for texts in choice.texts.values() for text in texts}
            assert {table.key(text) for text in texts} == {table.key(choice.value)}
        assert len(set(table.classes.values())) == len(DOMAINS[domain])


def test_the_words_of_a_rewrite_are_in_its_language_and_of_no_other() -> None:
    swapped = {"ca": "es", "es": "en", "en": "ca"}
    by_group = {(row["group"], language(row)): row for row in ROWS}
    for row in ROWS:
        example = next(query_json.load([row], query_json.Options()))
        other = by_group[row["group"], swapped[language(row)]]["target"]["query_rewrite"]
        reply = json.dumps(row["target"] | {"query_rewrite": other})
        assert query_json.score(example, reply)["language"] == 0.0, (row["query"], other)
