"""Find the articles of laws that a Spanish text cites, in every common notation.

find_citations("Arts. 12 y 14, y art. 66, núm. 4 de la Constitución", {"CRE": ["Constitución"]})
    [Citation("12"), Citation("14"), Citation("66", part="4", law="CRE")]

Recognised: art. 12, artículo 12, ARTÍCULOS 12, 13 y 14, arts. 3 a 5 (all three), art. 12 bis,
art. 12-A, art. 1.453 (thousands separator); a part: art. 66.4, art. 66, núm. 4, lit. b), numeral
4 del artículo 66; an ordinal: artículo primero; a law before or after: COIP, art. 140; arts. 3 y 4
CRE.
"""

import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import product

# Wider than any real list of articles: of a wider range only the two ends count.
MAX_RANGE = 200
# A text with more citations is not an answer; the rest is ignored.
MAX_CITED = 1000
ORDINALS = {
    **{"primero": "1", "segundo": "2", "tercero": "3", "cuarto": "4", "quinto": "5"},
    **{"sexto": "6", "septimo": "7", "octavo": "8", "noveno": "9", "decimo": "10"},
}
# Patterns are lower-case and without accents, like the text after `_fold`.
_ORDINAL = "|".join(ORDINALS)
_LABEL = (
    r"(?:numeral(?:es)?|num(?:ero)?s?\b\.?|literal(?:es)?|lits?\b\.?|letras?|incisos?|inc\b\.?"
    r"|apartados?|apdos?\b\.?|parrafos?|parr\b\.?)"
)
_VALUE = rf"(?:[0-9]{{1,3}}|[a-z]|{_ORDINAL})(?!\w)\)?"
_PLURAL_PARTS = (
    rf"(?:numerales|literales|letras|nums\b\.?|lits\b\.?) ?{_VALUE}(?: ?[,ye] ?{_VALUE})+"
)
_PART = rf"(?:{_PLURAL_PARTS}|{_LABEL} ?{_VALUE})"
_HEAD = (
    rf"(?:(?P<lead>{_PART}) ?,? ?de(?:l| los) )?"
    r"\bart(?:iculo)?(?P<plural>s)?\b\.? ?(?:del |n(?:um(?:ero)?)?[.ºo]{0,2} ?(?=[0-9]))?"
)
_DIGITS = r"(?:[0-9]{1,3}(?:\.[0-9]{3}){1,2}|[0-9]{1,6})(?![0-9])"
_ITEM = re.compile(
    rf"(?P<number>{_DIGITS}|(?:unico|{_ORDINAL})\b)"
    r"(?: ?\.?[ºª°])?(?: ?(?P<latin>bis|ter|quater)\b|-?(?P<letter>[a-z])(?!\w))?"
    rf"(?:\.(?P<part>[0-9]{{1,2}})(?![0-9]))?(?P<parts>(?:,? {_PART})*)"
)
_LINK = re.compile(
    r" ?(?P<range>[-–—]|(?<= )(?:a|al|hasta(?: el)?)(?= )) ?| ?,? (?P<and>[yeou]) | ?(?P<comma>,) ?"
)
# "el art. 12 y 14." cites two articles, "el art. 12 y 30 días" one.
_NO_NOUN = re.compile(r" ?(?:[.;:)\]]|$|de\b|del\b)")


@dataclass(frozen=True)
class Citation:
    """An article; `part` is e.g. "4" or "4.b", "" for all of it; `law` is "" if not named."""

    number: str
    part: str = ""
    law: str = ""

    def agrees(self, other: "Citation") -> bool:
        """Whether both cite the same article; a law or part that only one names is ignored."""
        pairs = ((self.part, other.part), (self.law, other.law))
        return self.number == other.number and all(a == b or not a or not b for a, b in pairs)

    def __str__(self) -> str:
        """For example "art. 66.4 CRE"."""
        part = f".{self.part}" if self.part else ""
        return " ".join(filter(None, ("art.", f"{self.number}{part}", self.law)))


def find_citations(text: str, laws: Mapping[str, Sequence[str]]) -> list[Citation]:
    """Distinct citations in text order; `laws` maps a law's code to its names."""
    head, law_behind = _patterns(tuple((code, tuple(names)) for code, names in laws.items()))
    code_of = {_fold(name): code for code, names in laws.items() for name in (code, *names)}
    folded, at = _fold(text), 0
    found: list[Citation] = []
    while len(found) < MAX_CITED and (match := head.search(folded, at)):
        items, at = _read_list(folded, match.end(), is_plural=bool(match["plural"]))
        law = law_behind.match(folded, at)
        name = law["law"] if law else match["before"]
        at = law.end() if law else at
        code = code_of[name] if name else ""
        found += (replace(item, law=code) for item in _with_lead(items, match["lead"]))
    return list(dict.fromkeys(found))


def is_known(citation: Citation, known: Mapping[str, Sequence[str]]) -> bool:
    """Whether `known`, law -> articles ("12 bis") and ranges ("1-444"), contains the article.

    A citation without a law is searched in all laws; the entry "" matches citations of any law.
    """
    laws = [law for law in known if not citation.law or law in ("", citation.law)]
    return any(_holds(entry, citation.number) for law in laws for entry in known[law])


def _holds(entry: str, number: str) -> bool:
    low, _, high = entry.partition("-")
    if low.isdecimal() and high.isdecimal():
        return number.isdecimal() and int(low) <= int(number) <= int(high)
    return entry.casefold() == number.casefold()


def _fold(text: str) -> str:
    """Lower case, no accents, single spaces; on longer runs the patterns would backtrack."""
    decomposed = unicodedata.normalize("NFD", " ".join(text.lower().split()))
    return "".join(char for char in decomposed if not unicodedata.combining(char))


@lru_cache(maxsize=32)
def _patterns(
    laws: tuple[tuple[str, tuple[str, ...]], ...],
) -> tuple[re.Pattern[str], re.Pattern[str]]:
    """Patterns of the start of a citation, with any law before it, and of a law after it."""
    names = sorted({_fold(name) for code, names in laws for name in (code, *names)}, key=len)
    any_name = "|".join(map(re.escape, reversed(names))) or "(?!)"
    before = rf"(?:\b(?P<before>{any_name})\b ?[,:(]? ?(?:(?:en )?(?:el|los|sus?) )?)?"
    behind = rf" ?[,(]? ?(?:de(?:l| la)? )?(?P<law>{any_name})\b"
    return re.compile(before + _HEAD), re.compile(behind)


def _read_list(text: str, at: int, *, is_plural: bool) -> tuple[list[Citation], int]:
    """Citations of the articles listed from offset `at`, and the offset of the list's end."""
    items: list[Citation] = []
    match, may_continue = _ITEM.match(text, at), is_plural
    while match and len(items) < MAX_CITED:
        items += _citations(match)
        at = match.end()
        link = _LINK.match(text, at)
        match = _ITEM.match(text, link.end()) if link else None
        if not link or not match or (link["comma"] and not may_continue):
            break
        if not is_plural and not _NO_NOUN.match(text, match.end()):
            break
        if link["range"]:
            items += _between(items[-1], _citations(match)[0])
        # "y" precedes the last item of a list: "los arts. 12, 13 y 14, 30 días después".
        may_continue = may_continue and not link["and"]
    return items, at


def _between(first: Citation, last: Citation) -> list[Citation]:
    if not (first.number.isdecimal() and last.number.isdecimal()):
        return []
    low, high = int(first.number), int(last.number)
    return [Citation(str(n)) for n in range(low + 1, high)] if high - low <= MAX_RANGE else []


def _citations(match: re.Match[str]) -> list[Citation]:
    """The article of a list item, once per part named."""
    number = ORDINALS.get(match["number"], match["number"]).replace(".", "")
    number = (number.lstrip("0") or "0") if number.isdecimal() else number
    if match["latin"]:
        number = f"{number} {match['latin']}"
    elif match["letter"]:
        number = f"{number}-{match['letter'].upper()}"
    return [Citation(number, part) for part in _parts(match["part"], match["parts"])]


def _parts(first: str | None, text: str) -> list[str]:
    """["4.b"] for "num. 4, lit. b)"; ["4", "5"] for "numerales 4 y 5"; [""] for no part."""
    named = [[first]] if first else []
    for chunk in re.findall(_PART, text):
        values = re.split(r" ?, ?| [ye] ", re.sub(rf"^{_LABEL} ?", "", chunk))
        named.append([ORDINALS.get(value.strip(") "), value.strip(") ")) for value in values])
    return [".".join(values) for values in product(*named)]


def _with_lead(items: list[Citation], lead: str | None) -> list[Citation]:
    """Assign the part of "numeral 4 del artículo 66" to the first article after it."""
    if not lead or not items:
        return items
    return [*(replace(items[0], part=part) for part in _parts(None, lead)), *items[1:]]
