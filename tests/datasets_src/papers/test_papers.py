"""Papers in JATS, CERMINE's and GROBID's XML and in PDF: sentences with their references."""

from pathlib import Path

import pytest

from datasets_src.errors import UserError
from datasets_src.papers.files import find_papers, read_xml_paper
from datasets_src.papers.paper import Claim, Paper
from datasets_src.papers.pdf import paper_of_text, read_pdf
from datasets_src.papers.xml_file import Unreadable

JATS = """<?xml version="1.0" encoding="UTF-8"?>
<!DOCTYPE article PUBLIC "-//NLM//DTD JATS (Z39.96) Journal Publishing DTD v1.2//EN" "JATS.dtd">
<article xml:lang="es" xmlns:xlink="http://www.w3.org/1999/xlink"><front><article-meta>
<article-id pub-id-type="doi">10.5555/BOL.1</article-id>
<title-group><article-title>El trit&oacute;n <italic>in situ</italic></article-title></title-group>
<permissions><license xlink:href="https://creativecommons.org/licenses/by-sa/4.0/"/></permissions>
</article-meta></front><body><sec><title>Intro</title><p>{}</p>
<fig><caption><p>Una figura <xref ref-type="bibr" rid="r1">[1]</xref>.</p></caption></fig>
</sec></body><back><ref-list>
<ref id="r1"><mixed-citation><string-name><surname>Gil</surname></string-name>,
 <article-title>On newts: a study.</article-title> <source>J. Inv. Zool.</source>
 (<year>2019a</year>)</mixed-citation></ref>
<ref id="r2"><element-citation publication-type="book"><source>Toads of Ribalta</source>
 <year>2004</year><pub-id pub-id-type="doi">10.5555/T.2</pub-id></element-citation></ref>
<ref id="r3"><mixed-citation><article-title>On frogs</article-title></mixed-citation></ref>
<ref id="r4"><mixed-citation><article-title>On eels</article-title></mixed-citation></ref>
</ref-list></back></article>"""


def cite(ids: str, label: str) -> str:
    return f'<xref ref-type="bibr" rid="{ids}">{label}</xref>'


def read_jats_with(paragraph: str) -> Paper:
    return read_xml_paper(JATS.replace("{}", paragraph).encode(), "a.xml")


def test_jats_gives_title_doi_licence_and_references() -> None:
    paper = read_jats_with(f"Migran en marzo {cite('r1', '[1]')}. Sin cita.")
    assert (paper.title, paper.doi, paper.language) == ("El tritón in situ", "10.5555/bol.1", "es")
    assert paper.license == "CC-BY-SA-4.0"
    first, second = paper.references["r1"], paper.references["r2"]
    assert (first.title, first.year, first.doi) == ("On newts: a study", 2019, None)
    assert (second.title, second.year, second.doi) == ("Toads of Ribalta", 2004, "10.5555/t.2")
    assert paper.claims == (Claim("Migran en marzo [1].", "Migran en marzo.", ("r1",)),)


@pytest.mark.parametrize(
    ("paragraph", "statement", "cited"),
    [
        # brackets around the citations, or within their text
        (f"Migran [{cite('r1', '1')}, {cite('r3', '3')}] en marzo.", "Migran en marzo.", "r1 r3"),
        (f"Migran {cite('r1 r3', '[1,3]')}.", "Migran.", "r1 r3"),
        # a range of which only the ends are marked cites all of it
        (f"Migran [{cite('r1', '1')}–{cite('r4', '4')}].", "Migran.", "r1 r2 r3 r4"),
        # superscript after the full stop
        (f"Migran.<sup>{cite('r2', '2')}</sup> Sin cita.", "Migran.", "r2"),
        # authors in brackets go, an author who is a subject stays
        (f"Migran (véase {cite('r1', 'Gil, 2019')}; {cite('r3', 'Puig')}).", "Migran.", "r1 r3"),
        (
            f"Según {cite('r1', 'Gil et al. (2019)')}, migran.",
            "Según Gil et al. (2019), migran.",
            "r1",
        ),
        # other text in the brackets is part of the sentence
        (
            f"Migran (aprox. 30 % {cite('r1', '[1]')}) ya.",
            "Migran (aprox. 30 %) ya.",
            "r1",
        ),
        # a reference that is not listed is ignored
        (f"Migran {cite('r9', '[9]')}, {cite('r2', '[2]')}.", "Migran.", "r2"),
    ],
)
def test_a_sentence_keeps_its_references_and_loses_their_marks(
    paragraph: str, statement: str, cited: str
) -> None:
    [claim] = read_jats_with(paragraph).claims
    assert (claim.statement, " ".join(claim.cited)) == (statement, cited)


def test_lists_are_read_and_figures_are_not() -> None:
    item = f"<list><list-item><p>Crían {cite('r3', '[3]')}.</p></list-item></list>"
    claims = read_jats_with(f"Nada. {item}").claims
    assert [claim.text for claim in claims] == ["Crían [3]."]


TEI = """<TEI xmlns="http://www.tei-c.org/ns/1.0"><teiHeader><fileDesc><titleStmt>
<title level="a" type="main">Els tritons</title></titleStmt><publicationStmt><availability>
<licence target="https://creativecommons.org/licenses/by/4.0/"/></availability></publicationStmt>
<sourceDesc><biblStruct><idno type="DOI">10.5555/CA.1</idno></biblStruct></sourceDesc>
</fileDesc></teiHeader><text xml:lang="ca"><body><div><head>Intro</head><p><s>Neden
<ref type="bibr" target="#b0">(Gil, 2019;</ref> <ref type="bibr" target="#b1">Puig)</ref>.</s><s>Res
més <ref type="figure" target="#fig_0">1</ref>.</s></p></div><figure><p>No
<ref type="bibr" target="#b1">[1]</ref>.</p></figure></body><back><div type="references"><listBibl>
<biblStruct xml:id="b0"><analytic><title level="a" type="main">On newts</title>
<idno type="DOI">10.5555/n.1</idno></analytic><monogr><title level="j">J. Inv.</title><imprint>
<date type="published" when="2019-03"/></imprint></monogr></biblStruct>
<biblStruct xml:id="b1"><monogr><title level="m">Toads of Ribalta</title><imprint>
<date>c. 2004</date></imprint></monogr>
<note type="raw_reference">Puig. Toads of Ribalta, 2004</note></biblStruct>
</listBibl></div></back></text></TEI>"""


def test_tei_gives_the_same() -> None:
    paper = read_xml_paper(TEI.encode(), "b.tei.xml")
    assert (paper.title, paper.doi, paper.language) == ("Els tritons", "10.5555/ca.1", "ca")
    assert paper.license == "CC-BY-4.0"
    newts, toads = paper.references["b0"], paper.references["b1"]
    assert (newts.title, newts.year, newts.doi) == ("On newts", 2019, "10.5555/n.1")
    assert (toads.title, toads.year, toads.doi) == ("Toads of Ribalta", 2004, None)
    [claim] = paper.claims
    assert claim.cited == ("b0", "b1")


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"<article><p>Cortado", "unreadable XML"),
        (b"", "unreadable XML"),
        (b"\xff\xfe\x00 no", "unreadable XML"),
        (b'<?xml version="1.0" encoding="klingon"?><article/>', "unreadable XML"),
        (b"<html><body/></html>", "XML of another kind"),
    ],
)
def test_other_files_are_rejected_with_the_reason(data: bytes, reason: str) -> None:
    with pytest.raises(Unreadable) as refused:
        read_xml_paper(data, "a.xml")
    assert refused.value.reason == reason


def test_entities_neither_expand_nor_open_files(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("secret")
    outside = f'<!DOCTYPE article [<!ENTITY x SYSTEM "{tmp_path}/secret">]><article>&x;</article>'
    with pytest.raises(Unreadable):
        read_xml_paper(outside.encode(), "a.xml")
    lines = "".join(f'<!ENTITY e{i} "{f"&e{i - 1};" * 10}">' for i in range(1, 10))
    bomb = f'<!DOCTYPE article [<!ENTITY e0 "{"x" * 100}">{lines}]><article>&e9;</article>'
    with pytest.raises(Unreadable):
        read_xml_paper(bomb.encode(), "a.xml")


PDF_TEXT = """El tritón de Ribalta

Los tritones migran en marzo [1], según los datos dis-
ponibles [2, 4-5]. Sin cita.
El resto no [17].

Referencias
1. Gil, E. On newts of Ribalta
and beyond. J. Inv. Zool. 3, 2019.
2. Puig, A. Toads. doi:10.5555/t.2
3. Roca, B. 1998. Frogs.
4. Roca, B. Eels.
5. Roca, B. Carps.
"""


def test_the_text_of_a_pdf_gives_numbered_references() -> None:
    paper = paper_of_text(PDF_TEXT, "c.pdf")
    statement = "Los tritones migran en marzo, según los datos disponibles."
    assert paper.claims[0].statement == statement
    assert paper.claims[0].cited == ("1", "2", "4", "5")
    assert len(paper.claims) == 1
    first = paper.references["1"]
    assert first.text == "Gil, E. On newts of Ribalta and beyond. J. Inv. Zool. 3, 2019."
    assert (first.title, first.year) == ("", 2019)
    assert paper.references["2"].doi == "10.5555/t.2"


def test_invalid_pdfs_and_pdfs_without_a_list_are_reported(tmp_path: Path) -> None:
    (tmp_path / "a.pdf").write_bytes(b"%PDF-1.4\nnothing else")
    with pytest.raises(Unreadable, match="unreadable PDF"):
        read_pdf(tmp_path / "a.pdf", "a.pdf")
    with pytest.raises(Unreadable, match="no numbered references"):
        paper_of_text("Texto (Gil, 2019).\nReferencias\nGil, E. On newts.", "a.pdf")
    with pytest.raises(Unreadable, match="no text"):
        paper_of_text(" \n ", "a.pdf")


def test_papers_are_found_and_xml_is_preferred_to_pdf(tmp_path: Path) -> None:
    for name in ("a.pdf", "a.cermxml", "b.pdf", "c.tei.xml", "c.pdf", "notes.txt"):
        (tmp_path / name).write_text("x")
    found = find_papers([str(tmp_path)], key="options.papers")
    assert [path.name for path in found] == ["a.cermxml", "b.pdf", "c.tei.xml"]
    for given, message in (("notes.txt", "is not a paper"), ("d.xml", "no such file")):
        with pytest.raises(UserError, match=rf"options.papers: .*{given}.* {message}"):
            find_papers([str(tmp_path / given)], key="options.papers")
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="no papers in this folder"):
        find_papers([str(tmp_path / "empty")], key="options.papers")
