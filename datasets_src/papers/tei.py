"""Read papers in TEI, as extracted from a PDF by GROBID.

<TEI><teiHeader>…<title level="a">El tritón</title>…</teiHeader>
  <text xml:lang="es"><body><div><p>Migran en marzo <ref type="bibr" target="#b0">[1]</ref>.</p>
  </div></body><back><div><listBibl><biblStruct xml:id="b0"><analytic><title>On newts</title>
    <idno type="DOI">10.5555/n.1</idno></analytic><monogr><imprint><date when="2019"/>…
"""

import xml.etree.ElementTree as ET

from datasets_src.papers.paper import Claim, Paper, Paragraph, Reference
from datasets_src.papers.xml_file import (
    XML_ID,
    XML_LANG,
    find,
    find_all,
    license_of,
    local,
    text_of,
    year_of,
)
from datasets_src.text.dois import find_dois

_APART = ("figure", "table", "formula", "note")


def read_tei(root: ET.Element, id: str) -> Paper:
    """The paper of a TEI root element; `id` names it."""
    header, text = find(root, "teiHeader"), find(root, "text")
    listed = (b for bibl in find_all(root, "listBibl") for b in find_all(bibl, "biblStruct"))
    references = {ref.id: ref for ref in map(_reference, listed) if ref.id}
    claims: list[Claim] = []
    for element in () if text is None else find_all(text, "body"):
        for p in _paragraphs(element):
            paragraph = Paragraph()
            _write(p, paragraph)
            claims += paragraph.claims(references)
    language = "" if text is None else text.get(XML_LANG) or root.get(XML_LANG) or ""
    return Paper(
        id=id,
        title=text_of(find(find(header, "titleStmt"), "title")),
        language=language[:2].lower() or None,
        doi=_doi_of(find(header, "sourceDesc")),
        references=references,
        claims=tuple(claims),
        license=license_of(root),
    )


def _paragraphs(element: ET.Element) -> list[ET.Element]:
    found = []
    for child in element:
        if local(child.tag) == "p":
            found.append(child)
        elif local(child.tag) not in _APART:
            found += _paragraphs(child)
    return found


def _write(element: ET.Element, paragraph: Paragraph) -> None:
    paragraph.add_text(element.text)
    for child in element:
        if local(child.tag) == "ref" and child.get("type") == "bibr":
            targets = (child.get("target") or "").split()
            paragraph.add_citation(text_of(child), (target.lstrip("#") for target in targets))
        elif local(child.tag) in _APART:
            paragraph.add_text(" ")
        elif local(child.tag):
            _write(child, paragraph)
            # GROBID marks sentences as <s>, without white space between them.
            paragraph.add_text(" " if local(child.tag) == "s" else "")
        paragraph.add_text(child.tail)


def _reference(bibl: ET.Element) -> Reference:
    date = find(bibl, "date")
    when = "" if date is None else date.get("when") or text_of(date)
    titles = (text_of(find(find(bibl, part), "title")) for part in ("analytic", "monogr"))
    raw = next((n for n in find_all(bibl, "note") if n.get("type") == "raw_reference"), None)
    return Reference(
        id=bibl.get(XML_ID) or "",
        title=next(filter(None, titles), "").strip(" .,"),
        year=year_of(when),
        doi=_doi_of(bibl),
        text=text_of(raw) or text_of(bibl),
    )


def _doi_of(element: ET.Element | None) -> str | None:
    ids = () if element is None else find_all(element, "idno")
    texts = (text_of(idno) for idno in ids if (idno.get("type") or "").upper() == "DOI")
    return next((doi for text in texts for doi in find_dois(text).dois), None)
