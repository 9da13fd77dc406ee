"""Read papers from the text of a PDF with pypdf, if there is no XML; numbered references only.

paper = read_pdf(Path("a.pdf"), "a.pdf")
paper.references["4"].text      "4. Ribalta, E. On newts. J. Invent. Zool. 3 (2019)"

The text of a PDF has no structure. Citations are numbers in square brackets, and entries are the
numbered items after the last heading "References". The title of an entry is unknown, so it is
matched by its whole text (matching.py). GROBID also recognises authors and years.
"""

import re
from pathlib import Path

from datasets_src.papers.paper import Claim, Paper, Paragraph, Reference
from datasets_src.papers.xml_file import Unreadable, year_of
from datasets_src.text.dois import find_dois

_HEADING = re.compile(
    r"^\s*(?:[0-9IVX]+\.?\s+)?(?:references|bibliography|works cited|referencias"
    r"(?: bibliográficas)?|bibliografía|referències(?: bibliogràfiques)?|bibliografia)\s*:?\s*$",
    re.IGNORECASE | re.MULTILINE,
)
_ENTRY = re.compile(r"^\s*(?:\[(\d{1,3})\]|(\d{1,3})\.)\s+", re.MULTILINE)
_CITATION = re.compile(r"\[(\d{1,3}(?:\s*[,;–-]\s*\d{1,3})*)\]")
_HYPHEN = re.compile(r"(?<=[a-zà-ÿ])-\n(?=[a-zà-ÿ])")
# A full stop before an indented line or a numbered heading ends a paragraph.
_PARAGRAPH = re.compile(r"\n\s*\n|(?<=[.!?])\n(?=\s{2,}|[0-9]+(?:\.[0-9]+)*\.?\s+[A-ZÀ-Ý])")


def read_pdf(path: Path, id: str) -> Paper:
    """Read the paper in a PDF; `id` names it.

    Raises:
        Unreadable: not a PDF, password-protected, without text (a scan), or without a numbered list
            of references.
    """
    return paper_of_text(_text_of(path), id)


def paper_of_text(text: str, id: str) -> Paper:
    """The paper in the extracted text of a PDF.

    Raises:
        Unreadable: no text, or no numbered list of references.
    """
    if not text.strip():
        raise Unreadable("no text in the PDF", "a scan: use GROBID, or OCR it first")
    headings = list(_HEADING.finditer(text))
    listed = _references(text[headings[-1].end() :]) if headings else {}
    if not listed:
        raise Unreadable("no numbered references in the PDF", "use GROBID (grobid_url)")
    body = _HYPHEN.sub("", text[: headings[-1].start()])
    claims: list[Claim] = []
    for part in _PARAGRAPH.split(body):
        claims += _paragraph(part).claims(listed)
    title = next(line.strip() for line in text.splitlines() if line.strip())
    return Paper(id, title, None, None, references=listed, claims=tuple(claims))


def _text_of(path: Path) -> str:
    import pypdf

    try:
        reader = pypdf.PdfReader(path)
        return "\n".join(page.extract_text() for page in reader.pages)
    except (pypdf.errors.PyPdfError, pypdf.errors.DependencyError, OSError) as error:
        raise Unreadable("unreadable PDF", str(error) or type(error).__name__) from None
    # pypdf does not validate the objects of a file, so a broken one may raise any of these.
    except (ValueError, KeyError, TypeError, AttributeError, IndexError, RecursionError) as error:
        raise Unreadable("unreadable PDF", f"{type(error).__name__}: {error}") from None


def _references(text: str) -> dict[str, Reference]:
    """Entries by number; only consecutive numbers from 1 are entries."""
    found: dict[str, Reference] = {}
    kept: list[re.Match[str]] = []
    for match in _ENTRY.finditer(text):
        if int(match[1] or match[2]) == len(kept) + 1:
            kept.append(match)
    for number, match in enumerate(kept, start=1):
        end = kept[number].start() if number < len(kept) else len(text)
        entry = " ".join(_HYPHEN.sub("", text[match.end() : end]).split())
        found[str(number)] = Reference(str(number), "", year_of(entry), _doi(entry), entry)
    return found


def _doi(entry: str) -> str | None:
    dois = find_dois(entry).dois
    return dois[0] if len(dois) == 1 else None


def _paragraph(text: str) -> Paragraph:
    paragraph, at = Paragraph(), 0
    for match in _CITATION.finditer(text):
        paragraph.add_text(text[at : match.start()])
        paragraph.add_citation(match[0], _numbers(match[1]))
        at = match.end()
    paragraph.add_text(text[at:])
    return paragraph


def _numbers(listed: str) -> list[str]:
    """Expand "3, 5-7" to ["3", "5", "6", "7"]."""
    numbers: list[str] = []
    for part in re.split(r"\s*[,;]\s*", listed):
        first, *last = (int(end) for end in re.split(r"\s*[–-]\s*", part))
        numbers += map(str, range(first, (last[0] if last else first) + 1))
    return numbers
