"""Which of the works that a search found is the one that a paper cites, if any.

match(Reference("r1", "On newts: a study", 2019, None), works, min_similarity=0.9, year_window=1)
Match(Work("10.5555/n.1", ("On newts", "On newts: a study"), 2019), similarity=1.0)

The first hit of a search is not yet the work: its title must be alike and its year near.
"""

import html
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from rapidfuzz import fuzz, process

from datasets_src.papers.paper import Reference
from datasets_src.text.dois import find_dois
from datasets_src.text.folding import all_words

# A title of fewer words is within many entries by chance.
MIN_WORDS_IN_ENTRY = 4
_TAG = re.compile(
    r"</?[a-zA-Z][\w:.-]{0,20}(?:\s[^<>]{0,200})?/?>"
)  # <i>, <mml:mi mathvariant="…">
_DATES = ("issued", "published-print", "published-online", "published")


@dataclass(frozen=True)
class Work:
    """`titles` are what it may be cited by: alone and with its subtitle; the first is the title."""

    doi: str
    titles: tuple[str, ...]
    years: tuple[int, ...]


@dataclass(frozen=True)
class Match:
    """`similarity` is in [0, 1]."""

    work: Work
    similarity: float


def read_work(item: Mapping[str, Any]) -> Work | None:
    """A work of Crossref's JSON; None of what has no DOI or no title."""
    dois = find_dois(str(item.get("DOI", ""))).dois
    titles = [_plain(str(title)) for title in item.get("title") or () if title]
    if not dois or not titles:
        return None
    subtitles = [_plain(str(subtitle)) for subtitle in item.get("subtitle") or () if subtitle]
    longer = [f"{titles[0]}: {subtitle}" for subtitle in subtitles]
    return Work(dois[0], tuple(dict.fromkeys((*titles, *longer))), tuple(sorted(_years(item))))


def _plain(title: str) -> str:
    """Without the mark-up and line breaks that publishers leave in titles."""
    return " ".join(html.unescape(_TAG.sub("", title)).split())


def _years(item: Mapping[str, Any]) -> set[int]:
    """All that it was published in: on line is often a year before print."""
    found = set()
    for name in _DATES:
        parts = (item.get(name) or {}).get("date-parts") or [[None]]
        if parts[0] and isinstance(parts[0][0], int):
            found.add(parts[0][0])
    return found


def match(
    reference: Reference, works: Iterable[Work], *, min_similarity: float, year_window: int
) -> Match | None:
    """The work most like the reference; of equals the one nearest in time, then the first."""
    best: tuple[float, int] | None = None
    found = None
    for work in works:
        distance = _distance(reference.year, work.years)
        alike = _similarity(reference, work)
        if distance > year_window or alike < min_similarity:
            continue
        if best is None or (alike, -distance) > best:
            best, found = (alike, -distance), Match(work, alike)
    return found


def _distance(year: int | None, years: Sequence[int]) -> int:
    """Years between; an unknown year is near to any."""
    return min((abs(year - other) for other in years), default=0) if year else 0


def _similarity(reference: Reference, work: Work) -> float:
    """By titles; where the entry's is not known, by how much of the work's is within the entry."""
    if reference.title:
        cited = _words(reference.title)
        return max(fuzz.ratio(cited, _words(title)) for title in work.titles) / 100
    title = _words(work.titles[0])
    if title.count(" ") + 1 < MIN_WORDS_IN_ENTRY:
        return 0.0
    entry = _words(reference.text)
    return fuzz.partial_ratio(title, entry) / 100 if len(title) <= len(entry) else 0.0


@lru_cache(maxsize=65536)
def _words(title: str) -> str:
    return " ".join(all_words(title))


class Works:
    """Works of a file, in place of a search: those of near years with titles most alike."""

    def __init__(self, works: Iterable[Work]) -> None:
        self._of_year: dict[int | None, list[Work]] = defaultdict(list)
        for work in works:
            for year in work.years or (None,):
                self._of_year[year].append(work)
            if work.years:
                self._of_year[None].append(work)

    def search(self, reference: Reference, *, year_window: int, limit: int = 5) -> list[Work]:
        """Works of the years around that of the reference, the most alike first."""
        year = reference.year
        years = range(year - year_window, year + year_window + 1) if year else (None,)
        near = list({work.doi: work for y in years for work in self._of_year[y]}.values())
        scorer = fuzz.ratio if reference.title else fuzz.partial_ratio
        query = _words(reference.title or reference.text)
        found = process.extract(
            query, [_words(w.titles[0]) for w in near], scorer=scorer, limit=limit
        )
        return [near[index] for _, _, index in found]
