"""The law_qa task end to end: prompts, scores of each kind of row, and errors."""

import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from datasets_src.errors import UserError
from datasets_src.tasks import law_qa
from datasets_src.types import Example

ROW = {
    "id": "7",
    "group": "CRE:12",
    "question": "¿Cuándo cierra el refugio?",
    "context": "Art. 12 CRE. El refugio cierra a las 22 horas.\nArt. 13 CRE. Abre a las 8.",
    "answer": "A las 22 horas (art. 12 CRE).",
    "split": "train",
}
CHOICE = {"question": "¿Cuándo cierra? a) 20 b) 22 c) 24", "answer": "b) 22 (art. 12 CRE)."}
NONE = {"question": "¿Hay perros?", "answer": "La Constitución no lo dice."}


def make(row: Mapping[str, Any] | None = None, **options: Any) -> Example:
    given = {**ROW, **(row or {})}
    return next(law_qa.load([given], law_qa.Options.model_validate(options)))


@pytest.fixture
def articles_file(tmp_path: Path) -> str:
    path = tmp_path / "articles.json"
    path.write_text(json.dumps({"CRE": ["1-444"], "CC": ["12 bis"]}), encoding="utf-8")
    return str(path)


def test_prompts() -> None:
    question, context = ROW["question"], ROW["context"]
    assert law_qa.to_messages(make()) == [{"role": "user", "content": f"{question}\n{context}"}]
    assert law_qa.to_text(make()) == (
        f"### Instrucción:\n{question}\n\n### Entrada:\n{context}\n\n### Respuesta:\n",
        ROW["answer"],
    )
    shared = make(field_order="shared_first")
    assert law_qa.to_messages(shared)[0]["content"] == f"{context}\n{question}"
    assert law_qa.to_text(shared)[0] == (
        f"### Entrada:\n{context}\n\n### Instrucción:\n{question}\n\n### Respuesta:\n"
    )
    by_heart = make({"context": ""})
    assert make({**ROW, "context": {"question": question}}).inputs == by_heart.inputs
    assert law_qa.to_text(by_heart)[0] == f"### Instrucción:\n{question}\n\n### Respuesta:\n"


@pytest.mark.parametrize(
    ("reply", "expected", "reason"),
    [
        (ROW["answer"], (1, 1, 1), ""),
        ("a las 22 horas, artículo 12 CRE", (1, 1, 1), ""),
        ("A las 22 horas.", (6 / 9, 0, 0), "cites nothing, not art. 12 CRE"),
        ("A las 22 horas (art. 13 CRE).", (5 / 6, 0, 1), "cites art. 13 CRE, not art. 12 CRE"),
        ("A las 22 horas (arts. 12 y 13 CRE).", (12 / 14, 2 / 3, 1), None),
        ("A las 22 horas (art. 99 CRE).", (5 / 6, 0, 0), "cites art. 99 CRE, which does not exist"),
        ("No consta.", (0, 0, 0), "abstains"),
        ("A las 9 horas (art. 12.3 CRE).", None, "token F1 0.67"),
        ("", (0, 0, 0), "empty"),
    ],
)
def test_scores(reply: str, expected: tuple[float, ...] | None, reason: str | None) -> None:
    scores = law_qa.score(make(), reply)
    assert set(scores) == {"token_f1", "citation_f1", "article_exists"}
    if expected is not None:
        assert tuple(scores.values()) == pytest.approx(expected)
    if reason is not None:
        assert law_qa.why(make(), reply, scores) == reason


def test_known_articles_come_from_the_file_and_the_context(articles_file: str) -> None:
    def exists(example: Example, reply: str) -> float | None:
        return law_qa.score(example, reply).get("article_exists")

    by_file = make({"context": ""}, articles_file=articles_file)
    assert exists(by_file, "art. 444 CRE") == exists(by_file, "art. 12 bis") == 1
    assert exists(by_file, "art. 445 CRE") == exists(by_file, "arts. 444 y 445 CRE") == 0
    assert exists(by_file, "art. 12 COIP") == 0
    assert exists(make(articles_file=articles_file), "art. 13.2 CRE") == 1
    neither = make({"context": ""})
    assert exists(neither, "art. 12 CRE") is None
    assert exists(make({**NONE}), "No lo dice.") == 1 and exists(make({**NONE}), "art. 99") == 0


def test_choice_is_scored_if_there_are_options() -> None:
    example = make(CHOICE)
    for reply, right in (("b)", 1), ("22 (art. 12)", 1), ("c) 22", 0), ("", 0), ("b) o c)", 0)):
        assert law_qa.score(example, reply)["choice_accuracy"] == right, reply
    scores = law_qa.score(example, "c) 24 (art. 12 CRE).")
    assert law_qa.why(example, "c) 24 (art. 12 CRE).", scores) == "chooses c, not b"
    assert "choice_accuracy" not in law_qa.score(make(), "b)")


def test_abstention_is_scored_if_the_reference_abstains() -> None:
    example = make(NONE)
    scores = law_qa.score(example, "Eso no consta en la ley")
    assert scores["abstention"] == 1 and "citation_f1" not in scores
    scores = law_qa.score(example, "A las 22 horas (art. 12 CRE).")
    assert scores["abstention"] == 0
    assert law_qa.why(example, "A las 22", scores) == "does not abstain"
    assert "abstention" not in law_qa.score(make(), "No consta")
    own = make({**NONE, "answer": "Ni idea."}, abstentions=["ni idea"])
    assert law_qa.score(own, "NI IDEA")["abstention"] == 1


@pytest.mark.parametrize("change", [{}, CHOICE, NONE, {"context": ""}])
def test_a_reference_scores_1_against_itself(change: dict[str, str]) -> None:
    example = make(change)
    scores = law_qa.score(example, example.target)
    assert set(scores.values()) == {1.0}
    assert law_qa.why(example, example.target, scores) == ""


def test_slices() -> None:
    kinds = [law_qa.slices(make(row))["kind"] for row in ({}, CHOICE, NONE)]
    assert kinds == ["answer", "choice", "abstention"]


def test_unusable_rows_are_errors(articles_file: str) -> None:
    with pytest.raises(UserError, match=r"row 7: the answer cites art. 99, which is neither"):
        make({"answer": "Sí (art. 99)."})
    with pytest.raises(UserError, match=r"row 7: the answer cites art. 500 CRE, which is neither"):
        make({"answer": "Sí (art. 500 CRE).", "context": ""}, articles_file=articles_file)
    with pytest.raises(UserError, match="row 7: `answer` is ' '"):
        make({"answer": " "})


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (None, "cannot be read (No such file"),
        ("{", "cannot be read (not JSON"),
        ("{}", "not lists of articles"),
        ('{"CRE": "1-444"}', "not lists of articles"),
        ('"1-444"', "not lists of articles"),
    ],
)
def test_faults_of_the_file_are_reported_before_training(
    text: str | None, says: str, tmp_path: Path
) -> None:
    path = tmp_path / "articles.json"
    if text is not None:
        path.write_text(text, encoding="utf-8")
    options = law_qa.Options.model_validate({"articles_file": str(path)})
    for find in (law_qa.check, lambda options: law_qa.load([], options)):
        with pytest.raises(UserError) as caught:
            find(options)
        assert says in caught.value.faults[0]
        assert caught.value.faults[0].startswith("data.task_options.articles_file: ")


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    reply=st.text(max_size=80)
    | st.text("artículos. 0123456789-,()abyCRE", max_size=120)
    | st.text(st.characters(codec=None), max_size=40)
)
def test_any_reply_has_scores(reply: str) -> None:
    for row in ({}, CHOICE, NONE):
        example = make(row)
        scores = law_qa.score(example, reply)
        assert "token_f1" in scores and all(0 <= value <= 1 for value in scores.values())
        assert isinstance(law_qa.why(example, reply, scores), str)


@pytest.mark.parametrize(
    "reply",
    ["arts. 1 a 150, 3 y 4; " * 9000, "a) " * 60_000, "no " * 90_000, "la opción " * 20_000],
)
def test_long_replies_are_scored_in_time(reply: str) -> None:
    started = time.process_time()
    scores = law_qa.score(make(CHOICE), reply)
    law_qa.why(make(CHOICE), reply, scores)
    assert time.process_time() - started < 1.5
