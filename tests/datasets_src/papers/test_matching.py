"""The cited work is distinguished from other works that a search finds."""

import pytest

from datasets_src.papers.matching import Work, Works, match, read_work
from datasets_src.papers.paper import Reference

NEWTS = {
    "DOI": "10.5555/N.1",
    "title": ["On newts"],
    "subtitle": ["a long-term study of Ribalta"],
    "issued": {"date-parts": [[2019, 3]]},
    "published-print": {"date-parts": [[2020]]},
}


def reference(title: str = "", year: int | None = 2019, text: str = "") -> Reference:
    return Reference("r", title, year, None, text)


def find(cited: Reference, *works: Work, similarity: float = 0.9, window: int = 1) -> str | None:
    found = match(cited, works, min_similarity=similarity, year_window=window)
    return None if found is None else found.work.doi


def work(doi: str, title: str, *years: int) -> Work:
    return Work(doi, (title,), years)


def test_a_crossref_work_is_parsed() -> None:
    read = read_work(NEWTS)
    assert read is not None
    assert read.doi == "10.5555/n.1"
    assert read.titles == ("On newts", "On newts: a long-term study of Ribalta")
    assert read.years == (2019, 2020)
    assert read_work({"DOI": "10.5555/n.1", "title": []}) is None
    assert read_work({"title": ["On newts"]}) is None
    nothing = read_work({"DOI": "10.5555/n.1", "title": ["A"], "issued": {"date-parts": [[None]]}})
    assert nothing is not None
    assert nothing.years == ()


def test_markup_of_a_title_is_removed() -> None:
    item = {"DOI": "10.5555/n.1", "title": ["The <i>Triturus</i> &amp;\n  CO<sub>2</sub> &lt; 3"]}
    read = read_work(item)
    assert read is not None
    assert read.titles == ("The Triturus & CO2 < 3",)


@pytest.mark.parametrize(
    ("title", "year", "found"),
    [
        ("On Newts.", 2019, True),
        ("ON NEWTS: a long–term study of Ribalta", 2021, True),  # a year after print
        ("On newts", 2022, False),
        ("On newts", 2017, False),
        ("On newts", None, True),
        ("On eels and other fish", 2019, False),
    ],
)
def test_title_and_year_must_both_match(title: str, year: int | None, found: bool) -> None:
    newts = read_work(NEWTS)
    assert newts is not None
    assert (find(reference(title, year), newts) == "10.5555/n.1") is found


def test_the_most_similar_hit_is_matched_not_the_first() -> None:
    works = (
        work("10.5555/1", "The census of the mole in Ribalta", 2019),
        work("10.5555/2", "The census of the mole in Soto", 2020),
        work("10.5555/3", "The census of the mole in Soto", 2019),
    )
    cited = reference("The census of the mole in Soto", 2019)
    assert find(cited, *works, similarity=0.8) == "10.5555/3"
    assert find(cited, works[0], similarity=0.8) == "10.5555/1"
    assert find(cited, works[0]) is None


def test_an_entry_without_a_title_must_hold_the_whole_title_of_the_work() -> None:
    cited = reference(text="Gil, E. The census of the mole in Soto. J. Inv. Zool. 3, 2019.")
    right = work("10.5555/1", "The census of the mole in Soto", 2019)
    assert find(cited, right) == "10.5555/1"
    assert find(cited, work("10.5555/2", "The census of the mole in Ribalta", 2019)) is None
    assert find(cited, work("10.5555/3", "The mole", 2019)) is None  # could be in any entry


def test_a_file_of_works_is_searched_like_crossref() -> None:
    works = Works(
        [
            work("10.5555/1", "The census of the mole in Soto", 2019, 2020),
            work("10.5555/2", "The census of the mole in Soto", 2012),
            work("10.5555/3", "Carps"),
        ]
    )
    cited = reference("The Census of the mole, in Soto", 2021)
    assert [w.doi for w in works.search(cited, year_window=1)] == ["10.5555/1"]
    anywhen = works.search(reference(cited.title, None), year_window=1, limit=2)
    assert {w.doi for w in anywhen} == {"10.5555/1", "10.5555/2"}
    entry = reference(text="Roca. The census of the mole in Soto. 2012", year=2012)
    assert [w.doi for w in works.search(entry, year_window=0)] == ["10.5555/2"]
