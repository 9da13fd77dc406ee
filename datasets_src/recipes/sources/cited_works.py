"""Resolves the works that a sentence cites, and picks other works of its paper as distractors.

search = Search(works=None, session=session, min_similarity=0.9, year_window=1)
search.find(Reference("r1", "On newts", 2019, None))    Work("10.5555/n.1", ("On newts",), (2019,))
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

from datasets_src.papers.matching import Work, Works, match, read_work
from datasets_src.papers.paper import Claim, Paper, Reference
from datasets_src.recipes.contract import NoAnswer, TeacherSession
from datasets_src.recipes.services import crossref

ROWS = 5  # search results to consider: the right one is seldom further down
MAX_QUERY = 500  # characters of a reference entry with unknown title


@dataclass(frozen=True)
class Search:
    """Searches `works`, or Crossref through the session if `works` is None."""

    works: Works | None
    session: TeacherSession
    min_similarity: float
    year_window: int

    def find(self, reference: Reference) -> Work | None:
        """The work of a reference: by its DOI if it has one, else by title and year."""
        if reference.doi is not None:
            return Work(reference.doi, (reference.title or reference.text,), ())
        if not (reference.title or reference.text):
            return None
        found = match(
            reference,
            self._search(reference),
            min_similarity=self.min_similarity,
            year_window=self.year_window,
        )
        return None if found is None else found.work

    def _search(self, reference: Reference) -> Sequence[Work]:
        window, year = self.year_window, reference.year
        if self.works is not None:
            return self.works.search(reference, year_window=window)
        request = {
            "query": (reference.title or reference.text)[:MAX_QUERY],
            "from_year": None if year is None else year - window,
            "until_year": None if year is None else year + window,
            "rows": ROWS,
        }
        items = self.session.look_up(crossref.NAME, request)
        return [work for item in items if (work := read_work(item)) is not None]

    def others(self, paper: Paper, claim: Claim, *, num: int) -> list[Work]:
        """Up to `num` works that other sentences of the paper cite, starting after this one's."""
        cited = list(dict.fromkeys(name for other in paper.claims for name in other.cited))
        at = cited.index(claim.cited[0])
        around = (name for name in cited[at:] + cited[:at] if name not in claim.cited)
        return list(islice(self._known(paper, around), num))

    def _known(self, paper: Paper, names: Iterator[str]) -> Iterator[Work]:
        for name in names:
            try:
                work = self.find(paper.references[name])
            except NoAnswer:
                continue  # counted for the sentence that cites it; any other work will do here
            if work is not None:
                yield work
