"""A paper as citing sentences: each claim with the works that it cites.

paper = Paper(id="a.xml", title="El tritón", language="es", doi=None,
              references={"r1": Reference("r1", "On newts", 2019, None)},
              claims=(Claim("Los tritones migran en marzo [1].", "Los tritones migran en marzo.",
                            ("r1",)),))

The reader of each format (jats.py, tei.py, pdf.py) fills a Paragraph, which is split into sentences
here, so that every sentence keeps its own references in all formats.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from datasets_src.papers.sentences import MARK, split_sentences

FIRST_MARK, NUM_MARKS = 0xE000, 0xF8FF - 0xE000 + 1
_FOREIGN_MARKS = re.compile(MARK)
_BRACKETED = re.compile(r"\s*[(\[]([^()\[\]]*)[)\]]")
# What may accompany citations in their brackets.
_FILLER = re.compile(
    rf"{MARK}|[\s,;.:&–—-]|\b(?:and|y|e|i|see|also|véase|vea|ver|vegeu|cf|e\.?g|p\.?\s?(?:ej|ex)|refs?)\b",
    re.IGNORECASE,
)
_NUMBERS = re.compile(r"[\s\[(]*[0-9]+(?:[\s,;–—-]*[0-9]+)*[\s\])]*")
_NUMBER_RUN = re.compile(rf"\s*{MARK}(?:[\s,;–—-]*{MARK})*")
_DASHES = re.compile(r"\s*[-–—]\s*")


@dataclass(frozen=True)
class Reference:
    """A cited work as the paper names it; `text` is the whole entry if the title is unknown."""

    id: str
    title: str
    year: int | None
    doi: str | None
    text: str = ""


@dataclass(frozen=True)
class Claim:
    """A citing sentence: `text` as printed, `statement` without citations, `cited` ids."""

    text: str
    statement: str
    cited: tuple[str, ...]


@dataclass(frozen=True)
class Paper:
    """A paper: its references by id, and its citing sentences in text order."""

    id: str
    title: str
    language: str | None
    doi: str | None
    references: Mapping[str, Reference]
    claims: tuple[Claim, ...]
    license: str | None = None


class Paragraph:
    """Text and citations of one paragraph, in order; `claims` gives its citing sentences."""

    def __init__(self) -> None:
        self._parts: list[str] = []
        self._citations: list[tuple[str, tuple[str, ...]]] = []

    def add_text(self, text: str | None) -> None:
        """Append text; private-use characters, which mark citations here, are removed from it."""
        self._parts.append(_FOREIGN_MARKS.sub(" ", text or ""))

    def add_citation(self, label: str, ids: Iterable[str]) -> None:
        """Append a citation, e.g. "[3]" or "Pérez (2018)", of the references `ids`."""
        if len(self._citations) == NUM_MARKS:  # beyond any real paragraph
            self.add_text(label)
            return
        self._parts.append(chr(FIRST_MARK + len(self._citations)))
        self._citations.append((_FOREIGN_MARKS.sub("", label), tuple(ids)))

    def claims(self, references: Mapping[str, Reference]) -> list[Claim]:
        """Sentences that cite at least one of `references`."""
        order = list(references)
        text = " ".join("".join(self._parts).split())
        found = []
        for sentence in split_sentences(text):
            cited = [id for id in self._cited(sentence, order) if id in references]
            if cited:
                printed = self._print(sentence)
                found.append(Claim(printed, self._state(sentence), tuple(dict.fromkeys(cited))))
        return found

    def _cited(self, sentence: str, order: list[str]) -> Iterable[str]:
        """Cited ids in order; the range "[3]–[6]", with only its ends marked, cites four."""
        marks = list(re.finditer(MARK, sentence))
        for number, mark in enumerate(marks):
            label, ids = self._citation(mark[0])
            yield from ids
            if number + 1 == len(marks):
                continue
            between = sentence[mark.end() : marks[number + 1].start()]
            next_label, next_ids = self._citation(marks[number + 1][0])
            numbered = _NUMBERS.fullmatch(label) and _NUMBERS.fullmatch(next_label)
            if numbered and _DASHES.fullmatch(between) and len(ids) == len(next_ids) == 1:
                yield from _between(ids[0], next_ids[0], order)

    def _print(self, sentence: str) -> str:
        return re.sub(MARK, lambda mark: self._citation(mark[0])[0], sentence)

    def _state(self, sentence: str) -> str:
        """The sentence without bracketed and numeric citations; authors as subjects stay."""
        bare = _BRACKETED.sub(_without_citations, sentence)
        bare = _NUMBER_RUN.sub(self._without_numbers, bare)
        bare = re.sub(r"\s+([.,;:!?])", r"\1", self._print(bare))
        return " ".join(bare.split())

    def _without_numbers(self, run: re.Match[str]) -> str:
        labels = [self._citation(mark)[0].strip() for mark in re.findall(MARK, run[0])]
        apart = all(_NUMBERS.fullmatch(x) or (x[:1] in "([" and x[-1:] in ")]") for x in labels)
        return "" if apart else run[0]

    def _citation(self, mark: str) -> tuple[str, tuple[str, ...]]:
        return self._citations[ord(mark) - FIRST_MARK]


def _without_citations(bracketed: re.Match[str]) -> str:
    inner = bracketed[1]
    is_citation = re.search(MARK, inner) and not _FILLER.sub("", inner)
    return "" if is_citation else bracketed[0]


def _between(first: str, last: str, order: list[str]) -> list[str]:
    if first not in order or last not in order:
        return []
    return order[order.index(first) + 1 : order.index(last)]
