"""Text similarity: limits, known values, and no text that breaks a measure."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sacrebleu.metrics.chrf import CHRF

from datasets_src.text.measures import (
    MAX_CHARS,
    chrf,
    exact,
    fold,
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


def test_tokens_are_counted_as_in_squad() -> None:
    assert tokens("¡Las 3.500 «rutas»!") == tokens("unas RUTAS: 3500")[::-1]
    assert token_f1("12,5", "125") == 0  # a comma that is dropped would make them one
    assert token_f1("años", "anos") == 0
    assert token_f1("no no no", "no") == 0.5


def test_an_empty_reply_scores_zero() -> None:
    for measure in MEASURES:
        assert measure("", "texto") == measure(" \n", "texto") == 0


@settings(max_examples=100, deadline=None)
@given(reply=st.text(st.characters(codec=None), max_size=60), reference=st.text(max_size=60))
def test_any_texts_have_values_from_zero_to_one(reply: str, reference: str) -> None:
    for measure in MEASURES:
        assert 0 <= measure(reply, reference) <= 1
        assert measure(reply, reply) in (0, 1)


def test_a_long_reply_is_cut() -> None:
    """Only the first MAX_CHARS characters are measured, which bounds the time of a reply."""
    text = "La nutria mide 24 cm. " * 20_000
    cut = text[:MAX_CHARS]
    for measure in MEASURES:
        assert measure(text, cut[::-1]) == measure(cut, cut[::-1])
        assert measure(text, cut) == measure(cut, text) == 1
    assert len(fold(text)) <= MAX_CHARS
