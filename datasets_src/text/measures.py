"""Text similarity of a reply and a reference: metrics in [0, 1] for any task.

chrf("El corzo mide 62 cm.", "El corzo mide 60 cm.") == 0.764
token_f1("A las 22 horas", "a 22 h") == 0.667

Only the first MAX_CHARS characters of a text count, which bounds the time of a long reply.
"""

import re
import unicodedata
from collections import Counter

from rapidfuzz.distance import Levenshtein
from sacrebleu.metrics.chrf import CHRF

from datasets_src.text.spanish_numbers import numbers_in

# Thirty times the length of a species description; all metrics together take at most 0.05 s.
MAX_CHARS = 20_000
# Articles that MLQA's evaluation drops (github.com/facebookresearch/MLQA, mlqa_evaluation_v1.py).
ARTICLES = frozenset(("el", "la", "los", "las", "un", "una", "unos", "unas"))
_TOKEN = re.compile(r"[0-9]+(?:[.,][0-9]+)*|[^\W_]+")
_CHRF = CHRF()


def fold(text: str) -> str:
    """Normalise for comparison: composed characters (NFC), single spaces, MAX_CHARS."""
    return " ".join(unicodedata.normalize("NFC", text[:MAX_CHARS]).split())


def exact(reply: str, reference: str) -> float:
    """1 if both are equal up to white space, else 0."""
    return float(fold(reply) == fold(reference))


def chrf(reply: str, reference: str) -> float:
    """chrF (Popović 2015): F2 of character n-grams up to 6, ignoring white space."""
    score = _CHRF.sentence_score(fold(reply), [fold(reference)]).score / 100
    return min(1.0, score)


def levenshtein(reply: str, reference: str) -> float:
    """1 - edits / length of the longer text."""
    return Levenshtein.normalized_similarity(fold(reply), fold(reference))


def length_ratio(reply: str, reference: str) -> float:
    """Length of the shorter text over that of the longer, in characters."""
    short, long = sorted((len(fold(reply)), len(fold(reference))))
    return short / long if long else 1.0


def token_f1(reply: str, reference: str) -> float:
    """F1 of words as in SQuAD: no case, punctuation or articles; 3.500 equals 3500."""
    counts, expected = Counter(tokens(reply)), Counter(tokens(reference))
    if not counts or not expected:
        return float(counts == expected)
    num_same = sum((counts & expected).values())
    return 2 * num_same / (counts.total() + expected.total())


def tokens(text: str) -> list[str]:
    """Words and numbers in lower case, without articles."""
    found = (match[0] for match in _TOKEN.finditer(fold(text).lower()))
    return [form for word in found if word not in ARTICLES for form in (numbers_in(word) or [word])]
