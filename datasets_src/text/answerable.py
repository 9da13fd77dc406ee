"""Whether a question can be answered from a passage, and whether two ask the same: words, no model.

    passage = "Elvira Soto nació en Umbría en 1931 y estudió botánica."
    is_answerable("¿Dónde nació Elvira?", passage)         True
    is_answerable("¿Qué estudió?", passage)                False: many texts could be asked that
    is_answerable("¿Dónde nació Marta Luna?", passage)     False: nobody of that name
    num_near_duplicates(["¿Dónde nació Elvira?", "¿Y dónde nace Elvira?"])       1

Spanish, Catalan and English. Words are compared without case and accents, and by how they begin:
"nació" and "nacimiento" are one, a synonym is another word.
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
# Words that say nothing of a passage: function words, and those that only name a kind of answer.
_SAYING_NOTHING = """
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
_EMPTY = _INTERROGATIVES | frozenset(_SAYING_NOTHING.split())
_MIN_STEM = 4
_MIN_GROUNDED = 2
_TWIN_OVERLAP = 0.75


class _Index(NamedTuple):
    words: frozenset[str]
    stems: frozenset[str]
    prefixes: frozenset[str]


def is_answerable(question: str, passage: str) -> bool:
    """At least two of its words that say something, and half of them, stand in the passage, and so
    does each of its numbers and a word of each of its names."""
    words = content_words(question)
    num_grounded = sum(is_in(word, passage) for word in words)
    if num_grounded < _MIN_GROUNDED or 2 * num_grounded < len(words):
        return False
    return all(is_in(word, passage) for word in words if word.isdigit()) and all(
        any(is_in(word, passage) for word in name) for name in _names(question)
    )


def content_words(text: str) -> list[str]:
    """Its words that say something, folded."""
    return [word for word in _fold(text) if word not in _EMPTY]


def is_in(word: str, passage: str) -> bool:
    """Whether a folded word, or one that differs behind its last letter but one, is there."""
    index = _index(passage)
    if word in index.words or len(word) <= _MIN_STEM or word.isdigit():
        return word in index.words
    return word[:-1] in index.prefixes or any(
        word[:end] in index.stems for end in range(_MIN_STEM, len(word))
    )


def num_near_duplicates(questions: Sequence[str]) -> int:
    """How many ask what an earlier one asks: the same words but for numbers and inflection, or
    those and up to a third more. "¿Dónde …?" and "¿Cuándo …?" differ."""
    keys = [_key(question) for question in questions]
    return sum(any(_same(key, earlier) for earlier in keys[:i]) for i, key in enumerate(keys))


def opener(question: str) -> str:
    """How a question begins: up to its first interrogative, "en que"; else its first word."""
    words = _fold(question)[:4]
    ends = [i for i, word in enumerate(words, start=1) if word in _INTERROGATIVES]
    return " ".join(words[: ends[0] if ends else 1])


def _fold(text: str) -> list[str]:
    plain = unicodedata.normalize("NFD", text.casefold())
    return _WORD.findall("".join(char for char in plain if not unicodedata.combining(char)))


@lru_cache(maxsize=256)
def _index(passage: str) -> _Index:
    words = frozenset(_fold(passage))
    # Short words and numbers have no stem: "soto" is not "sotomayor", nor 1931 the year 193.
    long = [word for word in words if len(word) > _MIN_STEM and not word.isdigit()]
    prefixes = frozenset(word[:end] for word in long for end in range(_MIN_STEM, len(word) + 1))
    return _Index(words, frozenset(word[:-1] for word in long), prefixes)


def _names(question: str) -> list[list[str]]:
    """Folded words of each name; a single capital at the beginning is no name."""
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
    near = min(len(a), len(b)) >= _TWIN_OVERLAP * max(len(a), len(b))
    return a == b or (near and (a < b or b < a))
