"""Which option of a multiple-choice question a reply chooses."""

import pytest

from datasets_src.text.choices import chosen_letter, options_of

QUESTION = "¿A qué hora cierran? a) 20 horas b) 22 horas, c) 22 horas y media"
OPTIONS = {"a": "20 horas", "b": "22 horas", "c": "22 horas y media"}


def test_options() -> None:
    assert options_of(QUESTION) == OPTIONS
    assert options_of("¿Qué?\nA) uno\nB) dos") == {"a": "uno", "b": "dos"}
    assert options_of("¿Qué dice el literal a) del art. 3?") == {}
    assert options_of("¿Qué dicen los literales b) y c)?") == {}


@pytest.mark.parametrize(
    ("reply", "letter"),
    [
        ("b)", "b"),
        ("B.", "b"),
        ("(b)", "b"),
        ("b", "b"),
        ("b) 22 horas (art. 3, literal a)", "b"),
        ("22 horas (art. 3, literal a).", "b"),
        ("22 horas y media", "c"),
        ("La respuesta correcta es la b", "b"),
        ("La opción b es correcta", "b"),
        ("Respuesta: **c**", "c"),
        ("a) 20 b) 22 c) 22 y media. Respuesta: b", "b"),
        ("A las 23 horas", ""),
        ("La respuesta a esto no la sé", ""),
        ("a) y b)", ""),
        ("d)", ""),
        ("", ""),
    ],
)
def test_chosen(reply: str, letter: str) -> None:
    assert chosen_letter(reply, OPTIONS) == letter
