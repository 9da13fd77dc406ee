"""Read papers in JATS, from publishers or extracted from a PDF by CERMINE (.cermxml).

<article xml:lang="es"><front>…<article-title>El tritón</article-title>…</front>
  <body><sec><p>Migran en marzo <xref ref-type="bibr" rid="r1">[1]</xref>.</p></sec></body>
  <back><ref-list><ref id="r1"><mixed-citation><article-title>On newts</article-title>
    <year>2019</year></mixed-citation></ref></ref-list></back></article>
"""

import xml.etree.ElementTree as ET

from datasets_src.papers.paper import Claim, Paper, Paragraph, Reference
from datasets_src.papers.xml_file import (
    XML_LANG,
    find,
    find_all,
    license_of,
    local,
    text_of,
    year_of,
)
from datasets_src.text.dois import find_dois

# Elements inside a paragraph that are not part of its running text.
_APART = ("fig", "table-wrap", "disp-formula", "fn", "supplementary-material", "boxed-text", "list")


def read_jats(root: ET.Element, id: str) -> Paper:
    """The paper of a JATS root element; `id` names it."""
    meta = find(root, "article-meta")
    references = {ref.id: ref for ref in map(_reference, find_all(root, "ref")) if ref.id}
    claims: list[Claim] = []
    for body in find_all(root, "body"):
        for element in _paragraphs(body):
            paragraph = Paragraph()
            _write(element, paragraph)
            claims += paragraph.claims(references)
    return Paper(
        id=id,
        title=text_of(find(meta, "article-title")),
        language=(root.get(XML_LANG) or "")[:2].lower() or None,
        doi=_doi_of(meta),
        references=references,
        claims=tuple(claims),
        license=license_of(root),
    )


def _paragraphs(element: ET.Element) -> list[ET.Element]:
    """Paragraphs, including those of lists, outside figures and tables."""
    found = []
    for child in element:
        if local(child.tag) == "p":
            found += [child, *_paragraphs(child)]
        elif local(child.tag) not in _APART or local(child.tag) == "list":
            found += _paragraphs(child)
    return found


def _write(element: ET.Element, paragraph: Paragraph) -> None:
    paragraph.add_text(element.text)
    for child in element:
        name = local(child.tag)
        if name == "xref" and child.get("ref-type") == "bibr":
            paragraph.add_citation(text_of(child), (child.get("rid") or "").split())
        elif name in _APART:
            paragraph.add_text(" ")
        elif name:
            _write(child, paragraph)
        paragraph.add_text(child.tail)


def _reference(ref: ET.Element) -> Reference:
    title = text_of(find(ref, "article-title")) or text_of(find(ref, "chapter-title", "source"))
    text = text_of(ref)
    return Reference(
        id=ref.get("id") or "",
        title=title.strip(" .,"),
        year=year_of(text_of(find(ref, "year"))) or year_of(text),
        doi=_only_doi(ref),
        text=text,
    )


def _only_doi(ref: ET.Element) -> str | None:
    """The DOI of an entry, from <pub-id>, a link or its text; None if it has several."""
    links = (value for element in ref.iter() for key, value in element.items() if "href" in key)
    dois = find_dois("\n".join((" ".join(ref.itertext()), *links))).dois
    return dois[0] if len(dois) == 1 else None


def _doi_of(meta: ET.Element | None) -> str | None:
    ids = () if meta is None else find_all(meta, "article-id")
    texts = (text_of(element) for element in ids if element.get("pub-id-type") == "doi")
    return next((doi for text in texts for doi in find_dois(text).dois), None)
