"""DOIs are found in every notation, and nothing else counts as a DOI."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from datasets_src.text.dois import Found, find_dois
from tests.datasets_src.growth import LINEAR, growth

SICI = "10.1002/(SICI)1097-0258(19980815)17:15/16<1661::AID-SIM968>3.0.CO;2-2"
WRAPPINGS = (
    *("{}", "({})", "<{}>", "[{}]", "'{}'", '"{}".', "«{}»,", "**{}**", "_{}_", "`{}`", "{};"),
    *("doi:{}", "DOI {}", "DOI: {}.", "DOI{}", "(doi: {})", "https://doi.org/{}", "doi.org/{}/"),
    *("<http://dx.doi.org/{}>", "https://www.doi.org/{}?a=1", "info:doi/{}", "urn:doi:{}"),
    *("[{0}](https://doi.org/{0})", '<a href="https://doi.org/{0}">{0}</a>', "{}<br/>"),
    *("see {} and more", "[1] {}\n[2] nothing", r"\href{{https://doi.org/{0}}}{{{0}}}", "{}…"),
)
WRITINGS = (
    *("10.5555/AB-12.c", "10.5555%2Fab-12.c", r"10.5555\/ab-12.c", "10.5555&#47;ab-12.c"),
    *("１０．５５５５/ab-12.c", "10.5555/ab–12.c", "10.5555/ab\u200b-12.c", "10.5555/aB\u201112.C"),
)


@pytest.mark.parametrize("wrapping", WRAPPINGS)
def test_wrapped(wrapping: str) -> None:
    assert find_dois(wrapping.format("10.5555/ab-12.c")) == Found(("10.5555/ab-12.c",), 0)
    if "%" not in wrapping:
        assert find_dois(wrapping.format(SICI)).dois == (SICI.lower(),)


@pytest.mark.parametrize("writing", WRITINGS)
def test_escapes_and_typographic_variants(writing: str) -> None:
    assert find_dois(f"DOI {writing}.") == Found(("10.5555/ab-12.c",), 0)


@pytest.mark.parametrize(
    "between", [", ", ",", ";", "; ", "\n", " and ", " y ", "|", "", " https://doi.org/", "doi:"]
)
def test_several(between: str) -> None:
    found = find_dois(between.join(["10.5555/a", "10.55555/b", "10.5555/A"]))
    assert found == Found(("10.5555/a", "10.55555/b"), 0)


@pytest.mark.parametrize(
    ("text", "num_malformed"),
    [
        *(("10.12/abc", 1), ("10.1234567890/a", 1), ("10.5555/", 1), ("10.5555/ 17", 1)),
        *(("DOI 10.5555", 1), ("doi:abc1", 1), ("https://doi.org/abc-1", 1), ("DOI: 10,5555/a", 1)),
        *(("11.5555/a", 0), ("DOI 11.5555/a", 1), ("10.12/a, 10.13/b", 2), ("1/10.5", 0)),
        *(("", 0), ("the DOI is unknown", 0), ("10 of 12", 0), ("10.5 km", 0), ("not found", 0)),
    ],
)
def test_texts_without_a_doi(text: str, num_malformed: int) -> None:
    assert find_dois(text) == Found((), num_malformed)


def test_a_malformed_doi_next_to_a_valid_one_is_counted() -> None:
    assert find_dois("10.5555/a and 10.123/b") == Found(("10.5555/a",), 1)


def test_files_of_any_kind_can_be_read() -> None:
    assert find_dois('{"context": "A: 10.5555/a\\nB: 10.5555/b", "dois": ["10.5555/c"]}').dois == (
        *("10.5555/a", "10.5555/b", "10.5555/c"),
    )
    assert find_dois('id,doi\n1,10.5555/a\n2,"10.5555/b"\n').dois == ("10.5555/a", "10.5555/b")


@settings(max_examples=300, deadline=None)
@given(st.text(alphabet=st.sampled_from("10.5/doi:%2F<>()[]&;\\ \nñ,"), max_size=60))
def test_a_normalised_doi_is_found_unchanged(text: str) -> None:
    dois = find_dois(text).dois
    assert all(find_dois(doi) == Found((doi,), 0) for doi in dois)


@pytest.mark.parametrize(
    "unit",
    [
        "doi:",
        "10.5555/",
        "10.5555/a,",
        "(",
        "<a",
        "%",
        "&",
        "doi ",
        "\\",
        "ﷺ",
        "10.",
        "[10.5555/a](",
    ],
)
def test_time_is_linear_in_the_text(unit: str) -> None:
    assert growth(lambda num: find_dois(unit * num), 100_000 // len(unit)) < LINEAR
