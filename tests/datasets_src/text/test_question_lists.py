"""Questions are read from lists of every form, and answers given with them are counted."""

import pytest

from datasets_src.text.question_lists import read_list
from tests.datasets_src.growth import LINEAR, growth

PLAIN = ["¿Dónde nació Elvira?", "¿Qué pintó?", "¿Con quién se casó?"]


@pytest.mark.parametrize(
    "mark",
    [
        *(
            "{}. ",
            "{}) ",
            "({}) ",
            "{}.- ",
            "{} - ",
            "[{}] ",
            "{}º ",
            " {}. ",
            "**{}.** ",
            "## {}. ",
        ),
        *("- ", "* ", "• ", "– ", "Pregunta {}: ", "**Pregunta {}:** ", "Q{}. ", "P{}: ", ""),
        *("{}\ufe0f\u20e3 ", '"{}. ', "> {}. ", "Pregunta nº {}. ", "{}: "),
    ],
)
def test_marks(mark: str) -> None:
    lines = [mark.format(i) + text for i, text in enumerate(PLAIN, start=1)]
    for separator in ("\n", "\n\n", "\r\n"):
        asked = read_list(separator.join(lines))
        assert [question.text for question in asked.questions] == PLAIN
        assert (asked.num_leaks, asked.remarks) == (0, ())


@pytest.mark.parametrize("marks", ["abc", "ABC", ("i", "ii", "iii"), ("I", "II", "III")])
def test_letters_and_roman_numbers(marks: str) -> None:
    for form in ("{}) {}", "{}. {}", "({}) {}"):
        reply = "\n".join(form.format(*pair) for pair in zip(marks, PLAIN, strict=True))
        assert [question.text for question in read_list(reply).questions] == PLAIN


@pytest.mark.parametrize(
    "reply",
    [
        "1. ¿A? 2. ¿B? 3. ¿C?",
        "¿A? ¿B? ¿C?",
        "¿A?¿B?¿C?",
        '["¿A?", "¿B?", "¿C?"]',
        '[\n  "¿A?",\n  "¿B?",\n  "¿C?"\n]',
        "Aquí tienes algunas preguntas sobre el texto proporcionado \n 1. ¿A?\n2. ¿B?\n3. ¿C?",
        "Claro, aquí tienes 3 preguntas, de verdadero o falso ninguna:\n\n- ¿A?\n- ¿B?\n- ¿C?",
    ],
)
def test_several_on_a_line_and_a_preamble(reply: str) -> None:
    asked = read_list(reply)
    assert [question.text for question in asked.questions] == ["¿A?", "¿B?", "¿C?"]
    assert (asked.num_leaks, asked.remarks) == (0, ())


def test_english_questions_on_a_line() -> None:
    asked = read_list("What did she paint? Where was she born?")
    assert [question.text for question in asked.questions] == [
        "What did she paint?",
        "Where was she born?",
    ]


@pytest.mark.parametrize(
    "line",
    [
        *("¿Verdadero o falso? Elvira pintó.", "Elvira pintó. ¿Verdadero o Falso?"),
        *("Verdadero o falso: Elvira pintó.", "**Verdadero o falso:** Elvira pintó."),
        *("Elvira pintó. (V/F)", "(V o F) Elvira pintó.", "[Verdadero/Falso] Elvira pintó."),
        *("Elvira pintó. Verdadero o falso.", "True or false: Elvira pintó.", "T/F: Elvira pintó."),
        *("Cert o fals: Elvira pintó.", "Vertader o fals? Elvira pintó."),
    ],
)
def test_true_or_false(line: str) -> None:
    for mark in ("1. ", "- ", ""):
        asked = read_list(mark + line)
        assert [tuple(question) for question in asked.questions] == [("Elvira pintó.", True)], line
        assert asked.num_leaks == 0


def test_headings_determine_the_kind_of_the_lines_below() -> None:
    asked = read_list(
        "**Preguntas de verdadero o falso:**\n1. Elvira pintó.\n2. Elvira leyó.\n"
        "### Preguntas abiertas:\n3. ¿Qué leyó?\n\nRespuestas:\n1. Verdadero\n2. Falso\n3. Un libro"
    )
    assert [tuple(question) for question in asked.questions] == [
        ("Elvira pintó.", True),
        ("Elvira leyó.", True),
        ("¿Qué leyó?", False),
    ]
    assert asked.num_leaks == 3


@pytest.mark.parametrize(
    ("reply", "num_leaks"),
    [
        ("1. ¿Dónde nació? En Soto.", 1),
        ("1. ¿Dónde nació? (Soto)", 1),
        ("1. ¿Dónde nació?\nRespuesta: en Soto", 1),
        ("1. ¿Dónde nació?\n**Respuesta:** en Soto", 1),
        ("1. ¿Dónde nació?\n   R: Soto\n", 1),
        ("1. Where was she born?\nA: Soto", 1),
        ("1. ¿Dónde nació?\na) Soto\nb) Umbría\nc) Ribalta", 3),
        ("1. ¿Dónde nació? a) Soto b) Umbría", 1),
        ("1. ¿Dónde nació?\n- Soto\n- Umbría", 2),
        ("1. ¿Verdadero o falso? Nació en Soto. (Verdadero)", 1),
        ("1. Verdadero o falso: nació en Soto. F", 1),
        ("1. ¿Dónde nació?\nVerdadero", 1),
        ("1. ¿Dónde nació?\nRespuesta correcta: b", 1),
        ("1. ¿Dónde nació?", 0),
    ],
)
def test_leaks(reply: str, num_leaks: int) -> None:
    asked = read_list(reply)
    assert (len(asked.questions), asked.num_leaks) == (1, num_leaks)


def test_numbered_lines_without_a_question_mark_are_asked_and_other_lines_are_remarks() -> None:
    asked = read_list("Ahí van\n1. Dónde nació Elvira\n2. Qué pintó\n\nEspero que te sirvan")
    assert [question.text for question in asked.questions] == ["Dónde nació Elvira", "Qué pintó"]
    assert asked.remarks == ("Espero que te sirvan",)
    assert len(read_list("- Dónde nació Elvira\n- Qué pintó").questions) == 2
    assert len(read_list("Pregunta 1: ¿A?\nPregunta 2: Qué pintó").questions) == 2
    for nothing in ("", "no", "Elvira pintó.", "\n\n", "¿¿¿", "SELECT 1;"):
        assert read_list(nothing) == ((), 0, ())


@pytest.mark.parametrize(
    "unit",
    ["?", "¿", "1. ", "? A", "\n", "a)", "V/F ", "(", "*", " ", "¿a?", "1. a?\n", "respuesta "],
)
def test_time_is_linear_in_the_text(unit: str) -> None:
    assert growth(lambda num: read_list(unit * num), 50_000 // len(unit)) < LINEAR
