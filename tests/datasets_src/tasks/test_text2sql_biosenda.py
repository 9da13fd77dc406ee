"""BioSenda's 153 real rows: every reference runs, and no two that differ in meaning are equal."""

import dataclasses
import json
import random
from collections.abc import Iterator
from itertools import permutations
from pathlib import Path

import pytest

from datasets_src.scoring.score import best_constant, score_replies
from datasets_src.sql.database import open_database
from datasets_src.sql.sandbox import ENGINES, close_pools, pool_for
from datasets_src.sql.text import bound_texts, normalise
from datasets_src.tasks import text2sql
from datasets_src.types import Example

BIOSENDA = Path(__file__).resolve().parents[3] / "../shared/data/biosenda"
# The only pairs of different references that match each other, by group, and why each
# means the same on this schema.
EQUIVALENT = {("119", "124"): "the same text, but for the alias of the one column and line breaks"}


@pytest.fixture(scope="module")
def examples() -> Iterator[list[Example]]:
    if not BIOSENDA.exists():
        pytest.skip(f"{BIOSENDA} is missing: the real rows of BioSenda may not be redistributed")
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
    yield list(text2sql.load(rows, options))
    close_pools()


@pytest.fixture(scope="module")
def distinct(examples: list[Example]) -> list[Example]:
    """The first row of each reference."""
    return list({example.target: example for example in reversed(examples)}.values())[::-1]


def test_prompts_share_all_but_the_question(examples: list[Example]) -> None:
    """The authors' order of fields shares the longest prefix."""
    prompts = [text2sql.to_text(example)[0] for example in examples]
    shared = f"### Base de datos:\n{examples[0].inputs['schema']}\n### Instrucción: "
    for example, prompt in zip(examples, prompts, strict=True):
        assert prompt == f"{shared}{example.inputs['question']}\n### SQL:"
    assert len(shared) > 0.9 * max(map(len, prompts))


def test_every_reference_scores_1_against_itself(examples: list[Example]) -> None:
    scores = score_replies(text2sql, examples, [example.target for example in examples])
    right = ("execution_accuracy", "ordered_match", "exact_match", "valid_sql")
    expected = {name: float(name in right) for name in text2sql.METRICS}
    assert len(scores) == 153 and all(row == expected for row in scores)


def test_every_reference_is_transpiled_and_runs_in_both_engines(distinct: list[Example]) -> None:
    """The test above relies on these executions."""
    inputs = distinct[0].inputs
    pool = pool_for(open_database(inputs["database"], case_insensitive=True), "tsql")
    assert len(distinct) == 28 and len(inputs["bindings"]) == 25
    text2sql.score_all(distinct, [example.target for example in distinct])
    for example in distinct:
        texts = bound_texts(example.target, inputs["bindings"], "tsql")
        outcomes = pool.gold[texts]
        assert tuple(outcomes) == ENGINES["tsql"], example.id
        for outcome in outcomes.values():
            assert (outcome.status, len(outcome.results)) == ("ok", len(texts)), example.id


def test_no_two_references_that_differ_in_meaning_are_equal(distinct: list[Example]) -> None:
    pairs = list(permutations(distinct, 2))
    scores = score_replies(text2sql, [e for e, _ in pairs], [other.target for _, other in pairs])
    assert len(scores) == 28 * 27 and all(row["valid_sql"] == 1 for row in scores)
    equal = {
        (example.group, other.group)
        for (example, other), row in zip(pairs, scores, strict=True)
        if row["execution_accuracy"] == 1
    }
    assert equal == {pair for one, other in EQUIVALENT for pair in ((one, other), (other, one))}
    by_group = {example.group: example.target for example in distinct}
    for one, other in EQUIVALENT:
        left, right = (normalise(by_group[group], "tsql").split(" ") for group in (one, other))
        assert [w for w, x in zip(left, right, strict=True) if w != x] == ["totalrutas"]


def test_five_bound_values_distinguish_less_than_all(examples: list[Example]) -> None:
    """A wrong LIMIT is detected with all taxa, but not with the first five."""
    (example,) = {e.target: e for e in examples if "> 50" in e.target}.values()
    reply = example.target.replace("> 50", "> 51")
    five = {**example.inputs, "bindings": example.inputs["bindings"][:5]}
    few = dataclasses.replace(example, inputs=five)
    assert text2sql.score(few, reply)["execution_accuracy"] == 1
    assert text2sql.score(example, reply)["execution_accuracy"] == 0


def test_variants_of_a_reference_still_match(distinct: list[Example]) -> None:
    """Case, dbo, sort order and aliases do not change the rows."""
    # SELECT Null has a column without a name, which a derived table may not have.
    named = [example for example in distinct if "Null" not in example.target]
    named = random.Random(5).sample(named, 9)  # all 27 do, in three times the time
    replies = []
    for number, example in enumerate(named):
        inner = example.target.split("ORDER BY")[0].replace("dbo.", "").lower()
        replies.append(f"SELECT * FROM ({inner}) AS q{number} ORDER BY 1 DESC")
    scores = score_replies(text2sql, named, replies)
    assert [row["execution_accuracy"] for row in scores] == [1.0] * 9
    assert sum(row["exact_match"] for row in scores) == 0


def test_the_constant_answer_scores_9_of_21(examples: list[Example]) -> None:
    train = [example for example in examples if example.split == "Train"]
    test = [example for example in examples if example.split == "Test"]
    reply, rows = best_constant(text2sql, train, test, metric="execution_accuracy")
    assert reply == "SELECT Null"
    assert (sum(row["execution_accuracy"] for row in rows), len(rows)) == (9.0, 21)
