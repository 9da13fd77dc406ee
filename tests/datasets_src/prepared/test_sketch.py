"""Sketches: which texts count as equal, and how reliably near duplicates share a band."""

import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from datasets_src.prepared.sketch import fold, jaccard, shingles, sketch

WORDS = [f"{a}{b}{c}" for a in ("ru", "ta", "lar") for b in ("go", "fá", "cil") for c in "aeiouxyz"]


def plain_jaccard(a: str, b: str) -> float:
    """By the definition, on sets of word triples."""
    sets = []
    for text in (a, b):
        words = text.casefold().split()
        triples = {tuple(words[i : i + 3]) for i in range(len(words) - 2)}
        sets.append(triples or {tuple(words)})
    return len(sets[0] & sets[1]) / len(sets[0] | sets[1])


def text_of(draw: random.Random, num_words: int) -> list[str]:
    return [draw.choice(WORDS) + str(draw.randrange(30)) for _ in range(num_words)]


def test_case_and_space_do_not_count_and_fields_do() -> None:
    digest, bands = sketch(fold(["¿Cuántas  rutas\nhay?", "León"]))
    same, same_bands = sketch(fold([" ¿CUÁNTAS rutas hay?", "león "]))
    assert digest == same and np.array_equal(bands, same_bands)
    assert sketch(fold(["¿Cuántas rutas", "hay? León"]))[0] != digest
    assert sketch(fold(["¿Cuántas rutas hay", "León"]))[0] != digest


@given(
    st.lists(st.sampled_from(["a", "b", "ñ", "rutas"]), max_size=12),
    st.lists(st.sampled_from(["a", "b", "ñ", "rutas"]), max_size=12),
)
def test_jaccard_is_that_of_the_sets_of_word_triples(a: list[str], b: list[str]) -> None:
    one, other = " ".join(a), " ".join(b)
    found = jaccard(shingles(fold([one])), shingles(fold([other])))
    assert found == pytest.approx(plain_jaccard(one, other))


@pytest.mark.parametrize("num_words", [25, 300])
def test_nearly_equal_texts_have_a_band_in_common(num_words: int) -> None:
    draw = random.Random(7)
    near: list[bool] = []
    far: list[bool] = []
    while len(near) < 150 or len(far) < 150:
        words = text_of(draw, num_words)
        changed = list(words)
        for place in draw.sample(range(num_words), draw.randint(1, num_words // 2)):
            changed[place] = "otra"
        one, other = fold([" ".join(words)]), fold([" ".join(changed)])
        met = bool((sketch(one)[1] == sketch(other)[1]).any())
        similarity = jaccard(shingles(one), shingles(other))
        if similarity >= 0.8:
            near.append(met)
        elif similarity < 0.3:
            far.append(met)
    assert np.mean(near) >= 0.99
    assert np.mean(far) <= 0.1


def test_texts_of_other_words_do_not_meet() -> None:
    draw = random.Random(3)
    bands = np.array([sketch(fold([" ".join(text_of(draw, 40))]))[1] for _ in range(300)])
    for column in bands.T:
        assert len(set(column.tolist())) == len(column)
