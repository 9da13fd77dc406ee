"""The doi task end to end: examples, prompts, scores, and errors before training."""

import json
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from datasets_src.errors import UserError
from datasets_src.tasks import doi
from datasets_src.types import Example

WORKS = "Dieta de nutria en Ribalta: 10.5555/A.1\nCenso de tejo en Umbría: 10.5555/b-2"
RIGHT = {"answered": 1.0, "doi_f1": 1.0, "doi_exact": 1.0, "well_formed": 1.0, "no_invented": 1.0}
NO_DOI = {"answered": 0.0, "doi_f1": 0.0, "doi_exact": 0.0}


def row(dois: Any, **changes: Any) -> dict[str, Any]:
    given = {"id": "7", "group": "g", "question": "¿Nutria?", "context": WORKS, "split": "train"}
    return {**given, "dois": dois, **changes}


def make(dois: Any, **options: Any) -> Example:
    return next(doi.load([row(dois)], doi.Options(**options)))


def test_prompts_in_both_orders() -> None:
    example = make("10.5555/A.1")
    assert doi.to_messages(example) == [{"role": "user", "content": f"¿Nutria?\n\n{WORKS}"}]
    text = f"### Question:\n¿Nutria?\n### Works:\n{WORKS}\n### Answer:"
    sentence = "A scientific article regarding those subjects can be found with the DOI 10.5555/a.1"
    assert doi.to_text(example) == (text, f" {sentence}\n")
    example = make("10.5555/A.1", field_order="shared_first", answer_form="bare")
    assert doi.to_messages(example) == [{"role": "user", "content": f"{WORKS}\n\n¿Nutria?"}]
    text = f"### Works:\n{WORKS}\n### Question:\n¿Nutria?\n### Answer:"
    assert doi.to_text(example) == (text, " 10.5555/a.1\n")
    assert (example.id, example.group, example.split) == ("7", "g", "train")
    json.dumps(example.inputs)  # what the store does with it


@pytest.mark.parametrize(
    ("dois", "form", "target"),
    [
        (["10.5555/a.1", "https://doi.org/10.5555/B-2"], "bare", "10.5555/a.1, 10.5555/b-2"),
        (
            "10.5555/a.1,10.5555/b-2",
            "authors",
            "Scientific articles regarding those subjects can be found with the DOIs "
            "10.5555/a.1, 10.5555/b-2",
        ),
        (
            "doi:10.5555/b-2",
            "spanish",
            "Un artículo científico sobre esos temas se encuentra con el DOI 10.5555/b-2",
        ),
        ([], "authors", "not found"),
        ("Not found", "spanish", "No se ha encontrado ningún artículo"),
    ],
)
def test_answers_and_what_counts_as_a_reference(dois: Any, form: Any, target: str) -> None:
    example = make(dois, answer_form=form)
    assert example.target == target
    assert doi.score(example, example.target)["doi_exact"] == 1.0


@pytest.mark.parametrize(
    ("reply", "expected", "reason"),
    [
        ("It is https://doi.org/10.5555/A.1.", RIGHT, ""),
        (
            "10.5555/a.1 or 10.5555/b-2",
            {**RIGHT, "doi_f1": 2 / 3, "doi_exact": 0.0},
            "1 wrong ones",
        ),
        (
            "10.5555/c",
            {**RIGHT, "doi_f1": 0.0, "doi_exact": 0.0, "no_invented": 0.0},
            "1 of 1 DOIs missing, 1 wrong ones",
        ),
        (
            "10.5555/a.1 and DOI 10.55",
            {**RIGHT, "doi_exact": 0.0, "well_formed": 0.0},
            "1 malformed",
        ),
        ("DOI 10.55/a", {**NO_DOI, "well_formed": 0.0}, "1 of 1 DOIs missing, 1 malformed"),
        ("not found", NO_DOI, "abstains"),
        ("", NO_DOI, "no DOI"),
    ],
)
def test_scores_where_a_doi_answers(reply: str, expected: dict[str, float], reason: str) -> None:
    example = make("10.5555/A.1")
    scores = doi.score(example, reply)
    assert scores == pytest.approx(expected)
    assert doi.why(example, reply, scores) == reason


@pytest.mark.parametrize(
    "reply",
    [
        *("not found", "Not found.", "No article was found.", "None of them.", "I don't know"),
        *("I could not find any", "No se ha encontrado ningún artículo", "No hay artículos"),
        *("Ningún trabajo trata de eso", "No lo sé", "No s'ha trobat cap article"),
    ],
)
def test_abstention_is_right_only_if_no_doi_answers(reply: str) -> None:
    right = {"abstention": 1.0, "doi_f1": 1.0, "doi_exact": 1.0}
    assert doi.score(make([]), reply) == right
    assert doi.score(make("10.5555/a.1"), reply) == NO_DOI


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        ("", "does not say none"),
        ("Nutria", "does not say none"),
        ("not found, but see 10.5555/a.1", "gives 1 DOIs where none answers"),
        ("not found: DOI 10.55", "does not say none"),
    ],
)
def test_an_empty_reply_or_a_doi_is_not_abstention(reply: str, reason: str) -> None:
    example = make("not found")
    scores = doi.score(example, reply)
    assert scores["abstention"] == scores["doi_f1"] == scores["doi_exact"] == 0.0
    assert doi.why(example, reply, scores) == reason


def test_for_memory_each_row_is_a_group_and_split_columns_are_ignored() -> None:
    options = doi.Options(answer_from="memory")
    (example,) = doi.load([row("10.5555/z", context="On nutria")], options)
    assert (example.group, example.split, example.inputs["context"]) == ("7", None, "")
    assert doi.to_messages(example) == [{"role": "user", "content": "¿Nutria?"}]
    assert doi.to_text(example)[0] == "### Question:\n¿Nutria?\n### Answer:"
    # Nothing says which DOIs exist, so none can be called invented.
    assert doi.score(example, "10.5555/z") == {k: 1.0 for k in RIGHT if k != "no_invented"}


def test_known_dois_may_come_from_a_file(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps({"t": "A: 10.5555/a.1\n", "dois": ["10.5555/Z"]}), encoding="utf-8")
    example = make("10.5555/a.1", known_file=str(path))
    assert doi.score(example, "10.5555/z, 10.5555/b-2")["no_invented"] == 0.5
    assert doi.score(example, "10.5555/a.1")["no_invented"] == 1.0


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"dois": "10.5555/q"}, "row 7: 10.5555/q is not in the context"),
        (
            {"dois": "see the paper"},
            "row 7: `dois` is 'see the paper', not only DOIs (10.NNNN/suffix)",
        ),
        ({"dois": "10.5555/a.1, 10.55/b"}, "not only DOIs (10.NNNN/suffix)"),
        ({"dois": "10.5555/a.1", "question": " "}, "row 7: `question` is empty"),
        (
            {"dois": "10.5555/a.1", "question": "What is big data?"},
            "row 7: the question shares no word with its context, so it may belong to another row: "
            "'What",
        ),
    ],
)
def test_unusable_rows_are_errors(changes: dict[str, Any], says: str) -> None:
    with pytest.raises(UserError) as caught:
        list(doi.load([row(**changes)], doi.Options()))
    assert says in caught.value.faults[0]


def test_require_overlap_can_be_disabled() -> None:
    strange = row("10.5555/a.1", question="What do otters eat?")
    for options, rows in (
        ({"require_overlap": False}, [strange]),
        ({}, [row("10.5555/a.1", question="What do otters eat?", context="")]),
        ({}, [row("not found", question="What do otters eat?")]),
    ):
        assert len(list(doi.load(rows, doi.Options.model_validate(options)))) == 1
    with pytest.raises(UserError, match="shares no word with its context"):
        list(doi.load([strange], doi.Options(answer_from="memory")))


def test_faults_of_the_known_file_are_reported_before_training(tmp_path: Path) -> None:
    empty = tmp_path / "empty.txt"
    empty.write_text("no DOI here", encoding="utf-8")
    (tmp_path / "latin.txt").write_bytes("año".encode("latin-1"))
    for name, says in (
        ("nowhere.txt", "cannot be read (No such file"),
        ("empty.txt", "has no DOI"),
        ("latin.txt", "cannot be read (not UTF-8)"),
    ):
        options = doi.Options(known_file=str(tmp_path / name))
        with pytest.raises(UserError, match=r"^data\.task_options\.known_file: ") as caught:
            doi.load([], options)
        assert says in caught.value.faults[0]


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    reply=st.text(max_size=80)
    | st.text(alphabet=st.sampled_from("10.5/abDOI: not found,()<>%&\n"), max_size=80),
    dois=st.sampled_from(["10.5555/a.1", "10.5555/a.1, 10.5555/b-2", "not found"]),
)
def test_any_reply_has_scores(reply: str, dois: str) -> None:
    example, started = make(dois), time.process_time()
    scores = doi.score(example, reply)
    assert time.process_time() - started < 1.5
    assert {"doi_exact", "doi_f1"} <= set(scores) <= set(doi.METRICS)
    assert ("abstention" in scores) == (dois == "not found") == ("answered" not in scores)
    assert all(0.0 <= value <= 1.0 for value in scores.values())
    assert bool(doi.why(example, reply, scores)) == (scores["doi_exact"] < 1)


def test_slices() -> None:
    cases = {"not found": "none", "10.5555/a.1": "one", "10.5555/a.1, 10.5555/b-2": "several"}
    assert {dois: doi.slices(make(dois))["answer"] for dois in cases} == cases
