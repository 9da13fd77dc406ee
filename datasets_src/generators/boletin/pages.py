"""Writers of the boletin set's four formats: JATS, CERMINE and GROBID XML, and plain PDF.

write_jats(paper)       b'<?xml version="1.0" encoding="UTF-8"?>\\n<article xml:lang="es" …'
"""

import textwrap
from collections.abc import Callable, Sequence
from xml.sax.saxutils import escape

from datasets_src.generators.boletin.facts import TEXTS
from datasets_src.generators.boletin.paper import Entry, Paper

HEAD = '<?xml version="1.0" encoding="UTF-8"?>\n'
LICENSE = "https://creativecommons.org/licenses/by/4.0/"
LINE = 84  # characters per line of the PDF
LINES_A_PAGE = 46
Cite = Callable[[Sequence[int]], str]


def write_jats(paper: Paper) -> bytes:
    """JATS as from a publisher: numbers are links, of a range only the two ends."""

    def cite(numbers: Sequence[int]) -> str:
        linked = [f'<xref ref-type="bibr" rid="r{n + 1}">{n + 1}</xref>' for n in _ends(numbers)]
        return f" [{('–' if len(numbers) > 2 else ', ').join(linked)}]"

    entries = "\n".join(
        f'    <ref id="r{n}"><mixed-citation><string-name><surname>Gil</surname></string-name>,'
        f" <article-title>{escape(entry.title)}</article-title>. <source>Bol. Fauna</source>"
        f" <year>{entry.year}</year></mixed-citation></ref>"
        for n, entry in enumerate(paper.entries, start=1)
    )
    return _article(paper, cite, entries, language=f' xml:lang="{paper.language}"')


def write_cermine(paper: Paper) -> bytes:
    """JATS as CERMINE extracts it: no language, and one link for several entries."""

    def cite(numbers: Sequence[int]) -> str:
        ids = " ".join(f"ref{n + 1}" for n in numbers)
        label = ", ".join(str(n + 1) for n in numbers)
        return f' <xref ref-type="bibr" rid="{ids}">[{label}]</xref>'

    entries = "\n".join(
        f'    <ref id="ref{n}"><mixed-citation>{n}. <string-name><given-names>E.</given-names>'
        f" <surname>Gil</surname></string-name>: <article-title>{escape(entry.title)}."
        f"</article-title> <source>Bol. Fauna</source> <volume>3</volume> (<year>{entry.year}"
        f"</year>)</mixed-citation></ref>"
        for n, entry in enumerate(paper.entries, start=1)
    )
    return _article(paper, cite, entries, language="")


def _article(paper: Paper, cite: Cite, entries: str, *, language: str) -> bytes:
    text = f"""{HEAD}<article xmlns:xlink="http://www.w3.org/1999/xlink"{language}>
<front><article-meta>
  <article-id pub-id-type="doi">{paper.doi}</article-id>
  <title-group><article-title>{escape(paper.title)}</article-title></title-group>
  <permissions><license xlink:href="{LICENSE}"/></permissions>
</article-meta></front>
<body><sec>
  <title>{TEXTS[paper.language]["heading"][1]}</title>
  <p>{_paragraph(paper, cite)}</p>
</sec></body>
<back><ref-list>
{entries}
</ref-list></back>
</article>
"""
    return text.encode()


def write_tei(paper: Paper) -> bytes:
    """TEI as GROBID extracts it from a PDF, with sentence markup."""

    def cite(numbers: Sequence[int]) -> str:
        return " " + ", ".join(f'<ref type="bibr" target="#b{n}">[{n + 1}]</ref>' for n in numbers)

    sentences = "".join(f"<s>{s.format(c=cite(n))}</s>" for s, n in paper.sentences)
    entries = "\n".join(
        f'  <biblStruct xml:id="b{n}"><analytic><title level="a" type="main">{escape(e.title)}'
        f'</title></analytic><monogr><title level="j">Bol. Fauna</title><imprint><date'
        f' type="published" when="{e.year}"/></imprint></monogr></biblStruct>'
        for n, e in enumerate(paper.entries)
    )
    text = f"""{HEAD}<TEI xmlns="http://www.tei-c.org/ns/1.0">
<teiHeader><fileDesc>
  <titleStmt><title level="a" type="main">{escape(paper.title)}</title></titleStmt>
  <publicationStmt><availability><licence target="{LICENSE}"/></availability></publicationStmt>
  <sourceDesc><biblStruct><idno type="DOI">{paper.doi}</idno></biblStruct></sourceDesc>
</fileDesc></teiHeader>
<text xml:lang="{paper.language}">
<body><div><p>{sentences}</p></div></body>
<back><div type="references"><listBibl>
{entries}
</listBibl></div></back>
</text></TEI>
"""
    return text.encode()


def _paragraph(paper: Paper, cite: Cite) -> str:
    return " ".join(sentence.format(c=cite(numbers)) for sentence, numbers in paper.sentences)


def _ends(numbers: Sequence[int]) -> Sequence[int]:
    return (numbers[0], numbers[-1]) if len(numbers) > 2 else numbers


def write_pdf(paper: Paper) -> bytes:
    """A PDF of one page: plain Helvetica text without any reference markup."""

    def cite(numbers: Sequence[int]) -> str:
        joined = "-" if len(numbers) > 2 else ", "
        return f" [{joined.join(str(n + 1) for n in _ends(numbers))}]"

    lines = [paper.title, "", *textwrap.wrap(_paragraph(paper, cite), LINE), ""]
    lines.append(TEXTS[paper.language]["heading"][0])
    for number, entry in enumerate(paper.entries, start=1):
        lines += textwrap.wrap(f"{number}. {_entry(entry)}", LINE)
    assert len(lines) <= LINES_A_PAGE, "a paper of this set is one page long"
    shown = "\n".join(f"({_in_pdf(line)}) Tj T*" for line in lines)
    stream = f"BT /F1 10 Tf 14 TL 56 780 Td\n{shown}\nET".encode("cp1252")
    return _pdf(
        [
            b"<< /Type /Catalog /Pages 2 0 R >>",
            b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
            b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 595 842] /Contents 5 0 R"
            b" /Resources << /Font << /F1 4 0 R >> >> >>",
            b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica /Encoding /WinAnsiEncoding >>",
            b"<< /Length %d >>\nstream\n%s\nendstream" % (len(stream), stream),
        ]
    )


def _entry(entry: Entry) -> str:
    return f"Gil, E.; Ruiz, B. {entry.title}. Bol. Fauna 3, {entry.year}."


def _in_pdf(line: str) -> str:
    for char in "\\()":
        line = line.replace(char, f"\\{char}")
    return line


def _pdf(objects: Sequence[bytes]) -> bytes:
    """Numbered objects, cross-reference table and trailer (ISO 32000-1, 7.5)."""
    data, places = b"%PDF-1.4\n", []
    for number, body in enumerate(objects, start=1):
        places.append(len(data))
        data += b"%d 0 obj\n%s\nendobj\n" % (number, body)
    table = b"".join(b"%010d 00000 n \n" % place for place in places)
    size = len(objects) + 1
    return data + (
        b"xref\n0 %d\n0000000000 65535 f \n%s" % (size, table)
        + b"trailer\n<< /Size %d /Root 1 0 R >>\nstartxref\n%d\n%%%%EOF\n" % (size, len(data))
    )
