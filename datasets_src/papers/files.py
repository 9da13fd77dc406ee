"""Find files of papers, and read XML papers by their format.

find_papers(["papers/"], key="options.papers")      [Path("papers/a.cermxml"), Path("papers/b.pdf")]
read_xml_paper(data, "a.cermxml")                   a Paper
"""

from collections.abc import Sequence
from pathlib import Path

from datasets_src.errors import UserError
from datasets_src.papers.jats import read_jats
from datasets_src.papers.paper import Paper
from datasets_src.papers.tei import read_tei
from datasets_src.papers.xml_file import Unreadable, local, parse_xml

XML, PDF = (".xml", ".cermxml", ".nxml", ".jats", ".tei"), (".pdf",)


def find_papers(given: Sequence[str], *, key: str) -> list[Path]:
    """XML and PDF files among `given` and in its folders; XML is preferred to a PDF of its name.

    Raises:
        UserError: a file does not exist or is of another kind, or a folder has no papers.
    """
    found: dict[Path, None] = {}
    for text in given:
        path = Path(text).expanduser()
        paths = _papers_in(path) if path.is_dir() else [path]
        if not paths or not paths[0].is_file():
            what = "no papers in this folder" if path.is_dir() else "no such file"
            raise UserError(f"{key}: {text}: {what}; give XML ({', '.join(XML)}) or PDF files")
        found |= dict.fromkeys(paths)
    if other := [path for path in found if path.suffix.lower() not in XML + PDF]:
        raise UserError(f"{key}: {other[0]} is not a paper; known: {', '.join(XML + PDF)}")
    has_xml = {_stem(path) for path in found if path.suffix.lower() in XML}
    return [p for p in found if p.suffix.lower() in XML or _stem(p) not in has_xml]


def read_xml_paper(data: bytes, id: str) -> Paper:
    """Parse a paper in JATS or TEI; `id` names it.

    Raises:
        Unreadable: not XML, or XML of another format.
    """
    root = parse_xml(data)
    readers = {"article": read_jats, "TEI": read_tei, "teiCorpus": read_tei}
    if (read := readers.get(local(root.tag))) is None:
        known = "neither <article> (JATS, CERMINE) nor <TEI> (GROBID)"
        raise Unreadable("XML of another kind", f"<{local(root.tag)}> is {known}")
    return read(root, id)


def _papers_in(folder: Path) -> list[Path]:
    return sorted(p for p in folder.iterdir() if p.is_file() and p.suffix.lower() in XML + PDF)


def _stem(path: Path) -> Path:
    """The common stem "a" of a.pdf, a.cermxml and a.tei.xml, as the tools name their output."""
    name = path.name[: -len(path.suffix)]
    for inner in (".tei", ".grobid.tei", ".grobid"):
        name = name.removesuffix(inner)
    return path.parent / name
