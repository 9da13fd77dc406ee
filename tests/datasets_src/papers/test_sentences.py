"""Text is split at the ends of sentences, not at abbreviations, initials and decimals."""

import pytest

from datasets_src.papers.sentences import split_sentences
from tests.datasets_src.growth import LINEAR, growth

TEXTS = {
    "en": (
        ("Smith et al. (2019) showed it.", "The rest follows."),
        ("As in Fig. 3 the curve falls.", "See Eq. (2) and Sect. 4."),
        ("Some species, e.g. the newt, swim; cf. Jones (2010).", "Others, i.e. toads, do not."),
        ("J. R. Smith measured 3.5 m.", "It took 2.1 h."),
        ("The growth was 4.5 % vs. 3 % before.", "Dr. Brown agrees."),
        ("It is known [12].", "We disagree [3, 4]."),
        ("The U.S. Navy adopted it.", "Approx. 30 ships were built."),
        ('They ask: "Why?" and leave.', "Nobody answers!"),
        ("See pp. 3-5 of vol. 2, no. 7.", "Ed. Wiley printed it."),
        ("We used version 3.11 of it.", "It ran."),
        ("St. John et al. found none.", "(See Table 2.)", "Done."),
        ("Newts need vitamin C.", "The rest is known.", "Toads say no.", "A few do."),
        ("It was shown by Puig et al.", "However, it is rare."),
    ),
    "es": (
        ("Según Pérez et al. (2018), el censo crece.", "El resto no."),
        ("Véase la fig. 2 y la pág. 14.", "El Sr. Ruiz y la Dra. Gil lo niegan."),
        ("Algunas, p. ej. el gallipato, nadan.", "Otras, cf. García (2001), no."),
        ("En EE. UU. se adoptó en 1998.", "Costó 3.500 euros, aprox. la mitad."),
        ("M. A. López midió 3,5 m.", "Tardó 2 h."),
        ("El art. 4 y el núm. 7 lo dicen.", "¿Por qué?", "Nadie lo sabe."),
        ("Vivió en el s. XIX y murió en 1901.", "No dejó obra."),
        ("1. Introducción al censo.", "Sigue el método… y el resto."),
    ),
    "ca": (
        ("Segons Puig et al. (2018), el cens creix.", "La resta no."),
        ("Vegeu la fig. 2 i la pàg. 14.", "El Sr. Roca i la Dra. Gil ho neguen."),
        ("Algunes espècies, p. ex. el tritó, neden.", "D'altres, cf. Serra (2001), no."),
        ("M. A. López va mesurar 3,5 m.", "Va trigar 2 h."),
        ("L'art. 4 i el núm. 7 ho diuen.", "Per què?", "Ningú no ho sap."),
    ),
}


@pytest.mark.parametrize("sentences", [text for texts in TEXTS.values() for text in texts])
def test_a_paragraph_is_cut_into_its_sentences(sentences: tuple[str, ...]) -> None:
    assert split_sentences(" ".join(sentences)) == list(sentences)


def test_a_citation_after_the_full_stop_belongs_to_the_sentence() -> None:
    found = split_sentences("Es sabido.\ue000 Luego, no.\ue001\ue002 Nada")
    assert found == ["Es sabido.\ue000", "Luego, no.\ue001\ue002", "Nada"]


def test_no_character_is_lost() -> None:
    text = " ".join(s for texts in TEXTS.values() for text in texts for s in text) * 100
    assert "".join("".join(split_sentences(text)).split()) == "".join(text.split())


@pytest.mark.parametrize("unit", [".", "a.", "A. ", "(", "fig. "])
def test_time_is_linear_in_the_text(unit: str) -> None:
    assert growth(lambda num: split_sentences(unit * num), 200_000 // len(unit)) < LINEAR
