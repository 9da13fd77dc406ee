"""The questions task end to end: examples, prompts, scores, and real rows."""

import json
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from datasets_src.errors import UserError
from datasets_src.tasks import questions
from datasets_src.types import Example

QGEN = Path(__file__).resolve().parents[3] / "../shared/data/qgen"
PASSAGE = (
    "Biografía \nElvira Soto nació en Umbría en 1931. Estudió botánica y vivió treinta años en "
    "Valdoro. Publicó una guía de helechos."
)
OPEN = ["¿Dónde nació Elvira Soto?", "¿Qué estudió Soto?", "¿Qué guía publicó Elvira?"]
MIXED = [*OPEN[:2], "¿Verdadero o falso? Soto vivió en Valdoro."]
PERFECT = dict.fromkeys(set(questions.METRICS) - {"true_false_share"}, 1.0)


def make(reference: Any = OPEN, passage: Any = PASSAGE, **options: Any) -> Example:
    row = {"id": "7", "group": "7", "passage": passage, "questions": reference, "split": "train"}
    return next(questions.load([row], questions.Options(**options)))


def test_the_authors_template() -> None:
    example = make()
    assert questions.to_messages(example) == [
        {
            "role": "user",
            "content": "Genera exactamente 3 preguntas de lectura comprensiva, sin incluir las "
            f"respuestas ni opciones, sobre el siguiente texto: {PASSAGE}",
        }
    ]
    assert example.target == (
        "Aquí tienes algunas preguntas sobre el texto proporcionado \n "
        "1. ¿Dónde nació Elvira Soto?\n2. ¿Qué estudió Soto?\n3. ¿Qué guía publicó Elvira?"
    )
    prompt, completion = questions.to_text(example)
    assert (prompt[-2:], completion) == ("\n\n", example.target + "\n\n")
    mixed = questions.to_messages(make(MIXED))[0]["content"]
    assert mixed == (
        "Genera exactamente 3 preguntas, de las cuales 1 deben ser de tipo verdadero o falso, sin "
        f"incluir las respuestas ni opciones, sobre el siguiente texto:\n\n{PASSAGE}"
    )
    json.dumps(example.inputs)  # what the store does with it


@pytest.mark.parametrize(
    ("language", "says"),
    [
        ("es", "Genera exactamente 3 preguntas de lectura comprensiva, sin incluir las respuestas"),
        ("ca", "Genera exactament 3 preguntes de comprensió lectora"),
        ("en", "Write exactly 3 reading comprehension questions"),
    ],
)
def test_passage_first(language: Any, says: str) -> None:
    given = {"field_order": "shared_first", "answer_form": "list", "language": language}
    example = make(**given)
    (turn,) = questions.to_messages(example)
    assert turn["content"].startswith(f"{PASSAGE}\n\n{says}")
    assert example.target.startswith("1. ¿Dónde nació Elvira Soto?\n2. ")
    mixed = questions.to_messages(make(MIXED, **given))[0]["content"]
    assert mixed.startswith(f"{PASSAGE}\n\n") and " 1 " in mixed and mixed != turn["content"]


def test_a_row_without_a_group_is_grouped_by_its_passage() -> None:
    assert (
        make().group == make(OPEN[:1], PASSAGE.replace(" ", "  ")).group != make(OPEN, "Otro").group
    )
    row = {"id": "7", "group": "g", "passage": PASSAGE, "questions": "1. ¿A?", "split": None}
    (example,) = questions.load([row], questions.Options())
    assert (example.id, example.group, example.split) == ("7", "g", None)
    assert example.target == "1. ¿A?"


@pytest.mark.parametrize("reference", [OPEN, MIXED, "1. ¿Dónde?\n2. ¿Qué?", "¿Qué?\nRespuesta: no"])
def test_a_reference_scores_1_against_itself(reference: Any) -> None:
    """Even one that breaks rules: a reply need not be better than its reference."""
    example = make(reference)
    scores = questions.score(example, example.target)
    assert scores["quality"] == 1.0 and questions.why(example, example.target, scores) == ""


@pytest.mark.parametrize(
    ("reply", "changed", "reason"),
    [
        ("1) ¿Qué estudió Elvira?\n2) ¿Dónde vivió Soto?\n3) ¿De qué es la guía de Soto?", {}, ""),
        (
            "- ¿Qué estudió Elvira?\n- ¿Dónde vivió Soto?",
            {"quality": 0, "count_obeyed": 0},
            "2 questions, not 3",
        ),
        (
            "¿Qué estudió Elvira? ¿Qué estudió Elvira? ¿Dónde vivió Soto?",
            {
                **{"quality": 2 / 3, "no_near_duplicates": 2 / 3, "no_exact_duplicates": 2 / 3},
                "opener_diversity": 2 / 3,
            },
            "repeats a question",
        ),
        (
            "1. Qué estudió Elvira\n2. ¿Dónde vivió Soto?\n3. ¿Cuándo nació Soto?",
            {"quality": 2 / 3, "question_form": 2 / 3},
            "not formatted as questions",
        ),
        (
            "1. ¿Qué estudió Elvira?\nBotánica\n2. ¿Dónde vivió Soto?\n3. ¿Cuándo nació Soto?",
            {"quality": 0.75, "no_leaked_answers": 0.75},
            "leaks answers",
        ),
        (
            "1. ¿Qué estudió Elvira?\n2. ¿Dónde vivió Soto?\n3. ¿Quién escribió el texto?\nSuerte",
            {"quality": 2 / 3, "answerable": 2 / 3},
            "not answerable from the passage",
        ),
        ("Elvira Soto nació en Umbría.", dict.fromkeys(PERFECT, 0), "0 questions, not 3"),
        ("", dict.fromkeys(PERFECT, 0), "0 questions, not 3"),
    ],
)
def test_scores(reply: str, changed: dict[str, float], reason: str) -> None:
    example = make()
    scores = questions.score(example, reply)
    assert scores == pytest.approx({**PERFECT, **changed})
    assert questions.why(example, reply, scores) == reason


def test_true_false_is_scored_if_requested() -> None:
    example = make(MIXED)
    assert questions.score(example, example.target) == {**PERFECT, "true_false_share": 1.0}
    scores = questions.score(example, make(OPEN).target)
    assert scores["true_false_share"] == scores["quality"] == pytest.approx(2 / 3)
    assert (
        questions.why(example, make(OPEN).target, scores) == "wrong number of true/false questions"
    )
    all_of_them = "\n".join(f"{i}. V/F: Soto vivió en Valdoro {i} años." for i in (1, 2, 3))
    assert questions.score(example, all_of_them)["true_false_share"] == pytest.approx(1 / 3)
    assert "true_false_share" not in questions.score(make(OPEN), all_of_them)
    assert questions.score(example, "")["true_false_share"] == 0.0


def test_other_languages_need_no_opening_question_mark() -> None:
    reply = "1. What did Elvira Soto study, botánica?\n2. Was Soto born in Umbría?"
    asked = {"es": 0.0, "ca": 1.0, "en": 1.0}
    for language, form in asked.items():
        example = make(["A?", "B?"], language=language)
        assert questions.score(example, reply)["question_form"] == form


@pytest.mark.parametrize(
    ("reference", "passage", "says"),
    [
        (OPEN, " ", "row 7: `passage` is ' ', with 3 questions"),
        ("nada", PASSAGE, "row 7: `questions` is 'nada', with 0 questions"),
        (["¿A? ¿B?"], PASSAGE, "with 2 questions"),
        ([], PASSAGE, "`questions` is '[]'"),
        ([{"role": "user", "content": "¿A?"}], PASSAGE, "with 0 questions"),
    ],
)
def test_unusable_rows_are_errors(reference: Any, passage: Any, says: str) -> None:
    with pytest.raises(UserError) as caught:
        make(reference, passage)
    assert says in caught.value.faults[0]


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    reply=st.text(max_size=120)
    | st.text(alphabet=st.sampled_from("123.)-¿? \nabVF/():Soto"), max_size=120),
    reference=st.sampled_from([OPEN, MIXED]),
)
def test_any_reply_has_scores(reply: str, reference: list[str]) -> None:
    example = make(reference)
    scores = questions.score(example, reply)
    assert set(questions.METRICS) - {"true_false_share"} <= set(scores) <= set(questions.METRICS)
    assert all(0.0 <= value <= 1.0 for value in scores.values())
    assert bool(questions.why(example, reply, scores)) == (scores["quality"] < 1)


@pytest.mark.parametrize("unit", ["¿Qué estudió Elvira?\n", "?", "1. a\n", "¿Soto? ", "a ", "\n"])
def test_long_replies_are_scored_in_time(unit: str) -> None:
    example, started = make(), time.process_time()
    assert questions.score(example, unit * (200_000 // len(unit)))["quality"] == 0.0
    assert time.process_time() - started < 1.5


def test_slices() -> None:
    assert questions.slices(make()) == {"wanted": "3", "kind": "open"}
    assert questions.slices(make(MIXED)) == {"wanted": "3", "kind": "with true/false"}


def read(name: str) -> list[dict[str, Any]]:
    path = QGEN / name
    if not path.exists():
        pytest.skip(f"{path} is missing: the rows of SQAC may not be redistributed")
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_real_conversations() -> None:
    """The authors' format is reproduced, and 12 of their 15 questions are answerable by words."""
    talks = read("conversations_printed.jsonl")
    answerable = []
    for talk in talks:
        messages = talk["messages"]
        example = make(messages, messages)
        assert questions.to_messages(example)[0] == messages[0]
        assert example.target == messages[1]["content"]
        scores = questions.score(example, example.target)
        reported = ("answerable", "opener_diversity")
        assert {k: v for k, v in scores.items() if k not in reported} == {
            k: 1.0 for k in PERFECT if k not in reported
        }
        answerable.append(scores["answerable"] * 3)
    # "¿Cuál fue el idioma extranjero …?" of a text that says "dominio de la lengua francesa".
    assert answerable == pytest.approx([2, 2, 3, 2, 3])


def test_the_reply_to_another_conversation_scores_at_most_half() -> None:
    talks = [talk["messages"] for talk in read("conversations_printed.jsonl")]
    examples = [make(messages, messages) for messages in talks]
    for example in examples:
        for other in examples:
            scores = questions.score(example, other.target)
            assert scores["quality"] == (1.0 if other is example else pytest.approx(0, abs=0.5))


def test_real_question_rows() -> None:
    """Each question of SQAC alone: all five are answerable, and their passages are two groups."""
    examples = [make(row["question"], row["context"]) for row in read("sqac_printed_rows.jsonl")]
    assert [questions.score(e, e.target) for e in examples] == [PERFECT] * 5
    assert len({example.group for example in examples}) == 2
