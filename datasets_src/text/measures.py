"""How near a reply is to a reference text: measures in [0, 1] that any task may use.

chrf("El corzo mide 62 cm.", "El corzo mide 60 cm.") == 0.764
token_f1("A las 22 horas", "a 22 h") == 0.667

A reply is judged by its first MAX_CHARS characters, so that no reply takes long.
"""

import re
import unicodedata
from collections import Counter

from rapidfuzz.distance import Levenshtein
from sacrebleu.metrics.chrf import CHRF

from datasets_src.text.spanish_numbers import numbers_in

# Thirty times a description; all measures together then take a twentieth of a second.
MAX_CHARS = 20_000
# Those that MLQA's evaluation drops (github.com/facebookresearch/MLQA, mlqa_evaluation_v1.py).
ARTICLES = frozenset(("el", "la", "los", "las", "un", "una", "unos", "unas"))
_TOKEN = re.compile(r"[0-9]+(?:[.,][0-9]+)*|[^\W_]+")
_CHRF = CHRF()


def fold(text: str) -> str:
    """The text as it is compared: composed characters (NFC), one space for any white space."""
    return " ".join(unicodedata.normalize("NFC", text[:MAX_CHARS]).split())


def exact(reply: str, reference: str) -> float:
    """1 where both are the same but for white space."""
    return float(fold(reply) == fold(reference))


def chrf(reply: str, reference: str) -> float:
    """chrF (Popović 2015): F2 of character n-grams up to 6, white space not counted."""
    score = _CHRF.sentence_score(fold(reply), [fold(reference)]).score / 100
    return min(1.0, score)


def levenshtein(reply: str, reference: str) -> float:
    """1 - edits / length of the longer text."""
    return Levenshtein.normalized_similarity(fold(reply), fold(reference))


def length_ratio(reply: str, reference: str) -> float:
    """Characters of the shorter text over those of the longer: 1 where both are as long."""
    short, long = sorted((len(fold(reply)), len(fold(reference))))
    return short / long if long else 1.0


def token_f1(reply: str, reference: str) -> float:
    """F1 of words, counted as SQuAD does: no case, no punctuation, no article; 3.500 is 3500."""
    ours, theirs = Counter(tokens(reply)), Counter(tokens(reference))
    if not ours or not theirs:
        return float(ours == theirs)
    num_same = sum((ours & theirs).values())
    return 2 * num_same / (ours.total() + theirs.total())


def tokens(text: str) -> list[str]:
    """Words and numbers in lower case, without articles."""
    found = (match[0] for match in _TOKEN.finditer(fold(text).lower()))
    return [form for word in found if word not in ARTICLES for form in (numbers_in(word) or [word])]
