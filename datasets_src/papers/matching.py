"""Match a cited reference to one of the works that a search found, if any.

match(Reference("r1", "On newts: a study", 2019, None), works, min_similarity=0.9, year_window=1)
Match(Work("10.5555/n.1", ("On newts", "On newts: a study"), 2019), similarity=1.0)

The first hit of a search is not always the cited work: title and year must match closely.
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

# A shorter title is contained in many entries by chance.
MIN_WORDS_IN_ENTRY = 4
_TAG = re.compile(
    r"</?[a-zA-Z][\w:.-]{0,20}(?:\s[^<>]{0,200})?/?>"
)  # <i>, <mml:mi mathvariant="…">
_DATES = ("issued", "published-print", "published-online", "published")


@dataclass(frozen=True)
class Work:
    """A published work; `titles` are the title, then the title with each subtitle."""

    doi: str
    titles: tuple[str, ...]
    years: tuple[int, ...]


@dataclass(frozen=True)
class Match:
    """A matched work; `similarity` is in [0, 1]."""

    work: Work
    similarity: float


def read_work(item: Mapping[str, Any]) -> Work | None:
    """A work from Crossref's JSON; None if it has no DOI or no title."""
    dois = find_dois(str(item.get("DOI", ""))).dois
    titles = [_plain(str(title)) for title in item.get("title") or () if title]
    if not dois or not titles:
        return None
    subtitles = [_plain(str(subtitle)) for subtitle in item.get("subtitle") or () if subtitle]
    longer = [f"{titles[0]}: {subtitle}" for subtitle in subtitles]
    return Work(dois[0], tuple(dict.fromkeys((*titles, *longer))), tuple(sorted(_years(item))))


def _plain(title: str) -> str:
    """Remove the markup and line breaks that publishers leave in titles."""
    return " ".join(html.unescape(_TAG.sub("", title)).split())


def _years(item: Mapping[str, Any]) -> set[int]:
    """All years of publication: online is often a year before print."""
    found = set()
    for name in _DATES:
        parts = (item.get(name) or {}).get("date-parts") or [[None]]
        if parts[0] and isinstance(parts[0][0], int):
            found.add(parts[0][0])
    return found


def match(
    reference: Reference, works: Iterable[Work], *, min_similarity: float, year_window: int
) -> Match | None:
    """The work most similar to the reference; ties by nearest year, then by order.

    Args:
        reference: the cited work as the paper names it.
        works: candidates, e.g. the hits of a search.
        min_similarity: least similarity, in [0, 1].
        year_window: greatest distance in years; an unknown year matches any.
    """
    best: tuple[float, int] | None = None
    found = None
    for work in works:
        distance = _distance(reference.year, work.years)
        similarity = _similarity(reference, work)
        if distance > year_window or similarity < min_similarity:
            continue
        if best is None or (similarity, -distance) > best:
            best, found = (similarity, -distance), Match(work, similarity)
    return found


def _distance(year: int | None, years: Sequence[int]) -> int:
    """Distance in years; 0 if either year is unknown."""
    return min((abs(year - other) for other in years), default=0) if year else 0


def _similarity(reference: Reference, work: Work) -> float:
    """Similarity of titles; if the entry's title is unknown, of the title to part of the entry."""
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
    """A local replacement for a search: works of a file, by year and title similarity."""

    def __init__(self, works: Iterable[Work]) -> None:
        self._of_year: dict[int | None, list[Work]] = defaultdict(list)
        for work in works:
            for year in work.years or (None,):
                self._of_year[year].append(work)
            if work.years:
                self._of_year[None].append(work)

    def search(self, reference: Reference, *, year_window: int, limit: int = 5) -> list[Work]:
        """Works within `year_window` years of the reference, most similar first."""
        year = reference.year
        years = range(year - year_window, year + year_window + 1) if year else (None,)
        near = list({work.doi: work for y in years for work in self._of_year[y]}.values())
        scorer = fuzz.ratio if reference.title else fuzz.partial_ratio
        query = _words(reference.title or reference.text)
        found = process.extract(
            query, [_words(w.titles[0]) for w in near], scorer=scorer, limit=limit
        )
        return [near[index] for _, _, index in found]
