"""Citations of articles of laws in Spanish notation."""

import pytest

from datasets_src.text.law_articles import Citation, find_citations, is_known
from tests.datasets_src.growth import LINEAR, growth

LAWS = {
    "CRE": ["Constitución", "Constitución de la República del Ecuador"],
    "COIP": ["Código Orgánico Integral Penal"],
    "CC": ["Código Civil"],
}


@pytest.mark.parametrize(
    ("text", "citations"),
    [
        ("art. 12", "12"),
        ("Según el artículo 12, 30 días.", "12"),
        ("ARTICULO 12", "12"),
        ("Art 12", "12"),
        ("art.12", "12"),
        ("artículo n.º 12; artículo Nº 13", "12|13"),
        ("arts. 12 y 14", "12|14"),
        ("los artículos 12, 13 y 14, 30 días", "12|13|14"),
        ("Arts. 12, 14", "12|14"),
        ("el art. 12 y 14.", "12|14"),
        ("el art. 12 y 30 días", "12"),
        ("art. 7 y art. 9", "7|9"),
        ("artículos 3 a 5", "3|4|5"),
        ("artículos del 3 al 5", "3|4|5"),
        ("arts. 3-5; arts. 3–5", "3|4|5"),
        ("arts. 3 a 5, 7 y 9", "3|4|5|7|9"),
        ("arts. 1 a 999999", "1|999999"),
        ("art. 12 bis y art. 12-A", "12 bis|12-A"),
        ("art. 1.453 del Código Civil", "1453 CC"),
        ("Art. 12.3 CRE", "12.3 CRE"),
        ("art. 66, núm. 4", "66.4"),
        ("art. 66 numeral 4 literal c)", "66.4.c"),
        ("art. 66, numerales 4 y 5 de la CRE", "66.4 CRE|66.5 CRE"),
        ("arts. 66, núm. 7, y 76", "66.7|76"),
        ("numeral 4 del artículo 66 de la Constitución", "66.4 CRE"),
        ("el inciso segundo del artículo 12", "12.2"),
        ("artículo primero, artículo 1.º, artículo único", "1|unico"),
        ("COIP, art. 140; el COIP (arts. 141 y 142)", "140 COIP|141 COIP|142 COIP"),
        ("la Constitución, en su artículo 3", "3 CRE"),
        ("art. 3 de la Constitución de la República del Ecuador", "3 CRE"),
        ("Arts. 4 y 5 CRE: 30 días", "4 CRE|5 CRE"),
        ("el arte 12, el artículo anterior, 12 artículos", ""),
        ("art. " + "9" * 6000, ""),
    ],
)
def test_usual_forms(text: str, citations: str) -> None:
    found = [str(citation).removeprefix("art. ") for citation in find_citations(text, LAWS)]
    assert found == citations.split("|") if citations else not found


def test_a_law_or_part_that_only_one_side_names_is_ignored() -> None:
    whole, part, other = Citation("66"), Citation("66", "4", "CRE"), Citation("66", "5", "CRE")
    assert whole.agrees(part) and part.agrees(whole) and not part.agrees(other)
    assert not Citation("66", law="CC").agrees(part) and not Citation("6").agrees(whole)


def test_known_articles() -> None:
    known = {"CRE": ["1-444"], "CC": ["10", "12 bis"]}
    assert is_known(Citation("444", "9", "CRE"), known) and not is_known(
        Citation("445", law="CRE"), known
    )
    assert is_known(Citation("12 bis"), known) and not is_known(
        Citation("12 bis", law="CRE"), known
    )
    assert not is_known(Citation("1", law="COIP"), known)
    assert is_known(Citation("1", law="COIP"), {"": ["1-3"]})


@pytest.mark.parametrize(
    ("head", "unit", "tail"),
    [
        ("art. 1", " ", ""),
        ("arts. ", "1 a 200, ", ""),
        ("", "art. 1 y ", ""),
        ("numerales ", "1,", " del art. 3"),
        ("art. 3 numerales ", "1, ", ""),
        ("", "constitucion de la ", ""),
    ],
)
def test_time_is_linear_in_the_text(head: str, unit: str, tail: str) -> None:
    def run(num: int) -> object:
        return find_citations(head + unit * num + tail, LAWS)

    assert growth(run, 50_000 // len(unit)) < LINEAR
