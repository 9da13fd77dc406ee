"""Lexical checks of questions on a passage: answerable, and near duplicates; no model.

    passage = "Elvira Soto nació en Umbría en 1931 y estudió botánica."
    is_answerable("¿Dónde nació Elvira?", passage)         True
    is_answerable("¿Qué estudió?", passage)                False: fits too many passages
    is_answerable("¿Dónde nació Marta Luna?", passage)     False: no such name in it
    num_near_duplicates(["¿Dónde nació Elvira?", "¿Y dónde nace Elvira?"])       1

Spanish, Catalan and English. Words are compared by their beginning, ignoring case and accents:
"nació" and "nacimiento" match, synonyms do not.
"""

import re
import unicodedata
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

_WORD = re.compile(r"[^\W_]+")
_NAME = re.compile(
    r"\b[A-ZÀ-ÖØ-Þ]\w+(?:\s(?:(?:de|del|la|las|los|el|dels|of|the|van|von)\s){0,2}[A-ZÀ-ÖØ-Þ]\w+)*"
)
_ASKING = """
que cual cuales quien quienes donde adonde cuando como cuanto cuanta cuantos cuantas
quin quina quins quines qui on quan com quant quanta quants quantes perque
what which who whom whose where when why how
"""
# Words that do not identify a passage: function words, and words for a kind of answer.
_STOP_WORDS = """
a al ante con contra de del desde durante e el ella ellas ello ellos en entre era eran es esa ese
eso esta estaba este esto fue fueron ha haber habia han hasta hay la las le les lo los mas me mi muy
no o para pero por porque pues se segun ser si sin sobre son su sus tambien tan te tiene tenia tras
tu u un una uno unos unas y ya
amb aquest aquesta als dels els ell eren ho hi i l d s uns unes li meu mes molt ni pel pels sa ses
seu seva seus seves segons va van
about after an and are as at be been before but by can could did do does for from had has have he
her him his in into is it its may of or our she should that the their them there these they this
those to was we were will with would you your
ano anos any anys year day dia nombre nom name llama llamaba llamo diu called lugar lloc place fecha
data date tipo tipus kind motivo motiu reason
texto text pasaje passatge passage fragmento fragment lectura autor author pregunta
"""
_INTERROGATIVES = frozenset(_ASKING.split())
_EMPTY = _INTERROGATIVES | frozenset(_STOP_WORDS.split())
_MIN_STEM = 4
_MIN_GROUNDED = 2
_MIN_OVERLAP = 0.75


class _Index(NamedTuple):
    words: frozenset[str]
    stems: frozenset[str]
    prefixes: frozenset[str]


def is_answerable(question: str, passage: str) -> bool:
    """Whether the passage contains at least two and at least half of the question's content words,
    each of its numbers, and a word of each of its names."""
    words = content_words(question)
    num_grounded = sum(is_in(word, passage) for word in words)
    if num_grounded < _MIN_GROUNDED or 2 * num_grounded < len(words):
        return False
    return all(is_in(word, passage) for word in words if word.isdigit()) and all(
        any(is_in(word, passage) for word in name) for name in _names(question)
    )


def content_words(text: str) -> list[str]:
    """The words of a text without stop words, folded (no case, no accents)."""
    return [word for word in _fold(text) if word not in _EMPTY]


def is_in(word: str, passage: str) -> bool:
    """Whether the passage contains a folded word, or one with the same stem."""
    index = _index(passage)
    if word in index.words or len(word) <= _MIN_STEM or word.isdigit():
        return word in index.words
    return word[:-1] in index.prefixes or any(
        word[:end] in index.stems for end in range(_MIN_STEM, len(word))
    )


def num_near_duplicates(questions: Sequence[str]) -> int:
    """How many questions repeat an earlier one: the same words up to numbers and inflection, or
    these plus up to a third more. "¿Dónde …?" and "¿Cuándo …?" differ."""
    keys = [_key(question) for question in questions]
    return sum(any(_same(key, earlier) for earlier in keys[:i]) for i, key in enumerate(keys))


def opener(question: str) -> str:
    """The start of a question up to its first interrogative ("en que"), or its first word."""
    words = _fold(question)[:4]
    ends = [i for i, word in enumerate(words, start=1) if word in _INTERROGATIVES]
    return " ".join(words[: ends[0] if ends else 1])


def _fold(text: str) -> list[str]:
    plain = unicodedata.normalize("NFD", text.casefold())
    return _WORD.findall("".join(char for char in plain if not unicodedata.combining(char)))


@lru_cache(maxsize=256)
def _index(passage: str) -> _Index:
    words = frozenset(_fold(passage))
    # Short words and numbers match exactly: "soto" is not "sotomayor", 193 is not 1931.
    long = [word for word in words if len(word) > _MIN_STEM and not word.isdigit()]
    prefixes = frozenset(word[:end] for word in long for end in range(_MIN_STEM, len(word) + 1))
    return _Index(words, frozenset(word[:-1] for word in long), prefixes)


def _names(question: str) -> list[list[str]]:
    """Folded words of each name; a lone capitalised word at the start is not a name."""
    start = next((i for i, char in enumerate(question) if char.isalnum()), 0)
    found = [(m.start(), content_words(m[0])) for m in _NAME.finditer(question)]
    return [words for at, words in found if words and (at > start or len(words) > 1)]


def _key(question: str) -> frozenset[str]:
    words = (w for w in _fold(question) if not w.isdigit())
    return frozenset(
        w[:-1] if len(w) > _MIN_STEM and w not in _INTERROGATIVES else w
        for w in words
        if w in _INTERROGATIVES or w not in _EMPTY
    )


def _same(a: frozenset[str], b: frozenset[str]) -> bool:
    near = min(len(a), len(b)) >= _MIN_OVERLAP * max(len(a), len(b))
    return a == b or (near and (a < b or b < a))
