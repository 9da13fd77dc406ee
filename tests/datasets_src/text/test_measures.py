"""Measures of text: their ends, their known values, and that no text breaks them."""

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sacrebleu.metrics.chrf import CHRF

from datasets_src.text.measures import (
    MAX_CHARS,
    chrf,
    exact,
    length_ratio,
    levenshtein,
    token_f1,
    tokens,
)

MEASURES = (chrf, exact, levenshtein, length_ratio, token_f1)


def test_equal_but_for_space_and_composition_is_one_everywhere() -> None:
    for measure in MEASURES:
        assert measure("El  gallipato\nmide 20 cm. Año", "El gallipato mide 20 cm. An\u0303o ") == 1


def test_values() -> None:
    reference, reply = "El corzo mide 62 cm.", "El corzo mide 60 cm."
    assert chrf(reply, reference) == CHRF().sentence_score(reply, [reference]).score / 100
    assert levenshtein(reply, reference) == pytest.approx(19 / 20)
    assert length_ratio("abc", "abcdef") == length_ratio("abcdef", "abc") == 0.5
    # corzo, mide, cm of 4 words each
    assert token_f1(reply, reference) == 0.75
    assert token_f1("A las 22 horas", "a 22 h") == pytest.approx(2 / 3)


def test_words_as_squad_counts_them() -> None:
    assert tokens("¡Las 3.500 «rutas»!") == tokens("unas RUTAS: 3500")[::-1]
    assert token_f1("12,5", "125") == 0  # a comma that is dropped would make them one
    assert token_f1("años", "anos") == 0
    assert token_f1("no no no", "no") == 0.5


def test_nothing_against_something_is_zero() -> None:
    for measure in MEASURES:
        assert measure("", "texto") == measure(" \n", "texto") == 0


@settings(max_examples=100, deadline=None)
@given(reply=st.text(st.characters(codec=None), max_size=60), reference=st.text(max_size=60))
def test_any_texts_have_values_from_zero_to_one(reply: str, reference: str) -> None:
    for measure in MEASURES:
        assert 0 <= measure(reply, reference) <= 1
        assert measure(reply, reply) in (0, 1)


def test_a_long_reply_is_cut() -> None:
    text = "La nutria mide 24 cm. " * 20_000
    started = time.monotonic()
    values = [measure(text, text[:MAX_CHARS][::-1]) for measure in MEASURES]
    assert time.monotonic() - started < 1.5 and all(0 <= value <= 1 for value in values)
    assert exact(text, text[:MAX_CHARS]) == 1
