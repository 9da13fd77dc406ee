"""Lexical checks of questions: answerable from a passage, near duplicates."""

import pytest

from datasets_src.text.answerable import is_answerable, num_near_duplicates, opener

PASSAGE = (
    "Biografía \nElvira Soto nació en Umbría en 1931, hija de un pastor. Estudió botánica, vivió "
    "treinta años en Valdoro y publicó en 1960 la Guía de los helechos. Fue amiga de Marta Luna."
)


@pytest.mark.parametrize(
    "question",
    [
        *("¿Dónde nació Elvira Soto?", "¿Cuál fue el lugar de nacimiento de Soto?"),
        *("¿Qué estudios hizo Elvira?", "¿Qué guía publicó en 1960?", "¿DÓNDE VIVIO ELVIRA?"),
        *("¿De quién era amiga Elvira?", "¿Qué publicación de Soto trata de helechos?"),
        *(
            "¿De qué Elvira fue amiga Marta?",
            "Elvira nació en Umbría.",
            "¿Era Soto hija de pastor?",
        ),
        "¿Dónde nació Elvira Pérez?",
    ],
)
def test_answerable(question: str) -> None:
    assert is_answerable(question, PASSAGE)


@pytest.mark.parametrize(
    "question",
    [
        *("", "¿?", "¿Qué?", "¿Dónde nació?", "¿Qué estudió?", "¿Cuándo murió el protagonista?"),
        *("¿De qué trata el texto?", "¿Cuál es la idea principal del texto?"),
        *("¿Dónde nació Irene Ribalta?", "¿Dónde vivió Tomás, hijo de un pastor?"),
        *("¿Qué publicó Elvira en 1961?", "¿Qué premio ganó Elvira en la feria de la ciudad?"),
        "¿Dónde nació Sotomayor?",
    ],
)
def test_not_answerable(question: str) -> None:
    assert not is_answerable(question, PASSAGE)


def test_other_languages() -> None:
    catalan = "En Pere Vidal va néixer a Vic i va estudiar música a Lleida."
    assert is_answerable("On va néixer en Pere Vidal?", catalan)
    assert not is_answerable("On va viure la Rosa?", catalan)
    english = "Ann Hill was born in Leeds and taught music for twenty years."
    assert is_answerable("What did Ann Hill teach, music or art?", english)
    assert is_answerable("Where was Ann Hill born?", english)
    assert not is_answerable("Who is the author of the text?", english)


@pytest.mark.parametrize(
    ("questions", "num"),
    [
        (["¿Dónde nació Elvira?", "¿Cuándo nació Elvira?", "¿Dónde vivió Elvira?"], 0),
        (["¿Dónde nació Elvira?", "¿En dónde nació Elvira?", "¿Y dónde nacería Elvira?"], 1),
        (["¿Dónde nació Elvira?", "¿dónde nacio elvira?"], 1),
        (["¿Qué hizo en el siglo 19?", "¿Qué hizo en el siglo 20?"], 1),
        (["¿Quién fue su padre?", "¿Quién fue su madre?"], 0),
        (["¿Dónde nació Elvira?", "¿Dónde nació Elvira Soto?"], 1),
        (["¿Qué?", "¿Qué?", "¿Qué?"], 2),
        ([], 0),
    ],
)
def test_near_duplicates(questions: list[str], num: int) -> None:
    assert num_near_duplicates(questions) == num


@pytest.mark.parametrize(
    ("question", "begins"),
    [
        *(("¿En qué año nació?", "en que"), ("¿Qué pintó?", "que"), ("¿Dónde?", "donde")),
        *(("Elvira nació en Soto.", "elvira"), ("¿Estudió?", "estudio"), ("", ""), ("¿?", "")),
    ],
)
def test_opener(question: str, begins: str) -> None:
    assert opener(question) == begins
