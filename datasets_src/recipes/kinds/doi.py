"""Questions answered by DOIs, made from the sentences in which papers cite those works.

papers: [a.cermxml, b.tei.xml, c.pdf]  ->  "Migran en marzo [1]." cites "On newts", 2019
Crossref                               ->  10.5555/n.1, by similar title and near year
the teacher, or a template             ->  "¿Cuándo migran los tritones?"
{"question": "¿Cuándo …?", "context": "On newts: 10.5555/n.1\\nOn toads: …",
 "dois": ["10.5555/n.1"], "statement": "Migran en marzo."}

XML is JATS (from publishers or CERMINE) or GROBID's TEI. PDFs go to GROBID if `grobid_url` is set;
else pypdf reads them, which supports only numbered references. `works_file`, works in Crossref's
JSON form, replaces Crossref. Rows are grouped by paper, so papers are never split. `context` holds
the works found for the sentence and a few that the paper cites elsewhere; `statement`, which
questions must depend on, is the sentence.
"""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, model_validator

from datasets_src.config import Section
from datasets_src.papers.files import PDF, find_papers, read_xml_paper
from datasets_src.papers.matching import Work, Works, read_work
from datasets_src.papers.paper import Claim, Paper
from datasets_src.papers.pdf import read_pdf
from datasets_src.papers.xml_file import Unreadable
from datasets_src.prepared.fingerprint import file_hash
from datasets_src.reading.readers import read_rows
from datasets_src.recipes.contract import (
    TEACHER,
    Dropped,
    Item,
    Prompt,
    Row,
    Service,
    TeacherSession,
)
from datasets_src.recipes.services import crossref, grobid
from datasets_src.recipes.sources.cited_works import Search
from datasets_src.text.dois import find_dois

TASK = "doi"
OUTPUT = "question"
DEPENDS_ON = ("statement",)
PLACEHOLDERS = {
    "question": {
        "statement": "the sentence, without its citations",
        "titles": "titles of the works that it cites, one per line",
        "language": "language of the sentence: español, català or English",
    }
}
MUST_NAME = {"question": ("statement",)}
LICENSE = "unknown"
TEMPLATE, UNFILLED = (
    "template",
    "unfilled",
)  # template: the sentence in a frame; unfilled: no teacher
_ORIGINS = {"teacher": TEACHER, "template": TEMPLATE}
LANGUAGES = {"es": "español", "ca": "català", "en": "English"}
FRAMES = {
    "es": "¿Qué trabajos lo muestran? {}",
    "ca": "Quins treballs ho mostren? {}",
    "en": "Which works show this? {}",
}


class Options(Section):
    """`options:` of the kind."""

    papers: tuple[str, ...] = Field(min_length=1, description="XML and PDF files, or folders")
    works_file: str | None = Field(
        None, description="works in Crossref's JSON, searched instead of Crossref"
    )
    mailto: str | None = Field(
        None, pattern=r"^\S+@\S+$", description="your e-mail address, for Crossref's polite pool"
    )
    crossref_url: str = Field(crossref.URL, description="base URL of Crossref's API")
    lookups_per_minute: float = Field(
        crossref.REQUESTS_PER_MINUTE, gt=0, description="rate limit of look-ups"
    )
    max_lookups: int = Field(crossref.MAX_PARALLEL, ge=1, description="max concurrent look-ups")
    lookup_timeout_s: float = Field(30.0, gt=0, description="look-up timeout in seconds")
    grobid_url: str | None = Field(None, description="GROBID server for PDFs; null: pypdf")
    min_similarity: float = Field(
        0.9, gt=0, le=1, description="min edit-distance similarity of cited and found title"
    )
    year_window: int = Field(1, ge=0, description="max difference of cited and found year")
    require_all: bool = Field(True, description="drop a sentence if any cited work is not found")
    min_words: int = Field(5, ge=1, description="min words of a sentence")
    num_other_works: int = Field(
        4, ge=0, description="distractors: other works of the paper in the context"
    )
    question_by: Literal["teacher", "template"] = Field(
        "teacher", description="source of the question; template: the sentence in a frame"
    )
    license: str | None = Field(None, description="licence of papers that name none")
    question: Prompt = Field(
        Prompt(
            template="Un artículo dice, citando a otros: «{statement}»\nEscribe en {language} una"
            " sola pregunta que haría quien busca esos trabajos sin conocerlos. Debe tratar de lo"
            " que dice la frase y no nombrar autores ni títulos. Responde solo con la pregunta."
        ),
        description="prompt for the teacher",
    )

    @model_validator(mode="after")
    def _check_search(self) -> "Options":
        if (self.works_file is None) == (self.mailto is None):
            raise ValueError("mailto or works_file: set exactly one, to search Crossref or a file")
        return self


@dataclass(frozen=True)
class Material:
    """`works` is None if Crossref is searched; `names` maps paths to paper ids."""

    options: Options
    names: Mapping[Path, str]
    works: Works | None


@dataclass(frozen=True)
class Cited:
    """A citing sentence with its paper."""

    paper: Paper
    claim: Claim


def open_material(options: Options) -> Material:
    """Find the papers and read the works file. UserError: a missing or unreadable file."""
    paths = find_papers(options.papers, key="options.papers")
    names = [path.name for path in paths]
    ids = {p: p.name if names.count(p.name) == 1 else str(p) for p in paths}
    works = None if options.works_file is None else _read_works(Path(options.works_file))
    return Material(options, ids, works)


def _read_works(path: Path) -> Works:
    rows = read_rows(path.expanduser(), key="options.works_file")
    return Works(filter(None, map(read_work, rows)))


def services(options: Options) -> Sequence[Service]:
    """Crossref and GROBID, as far as the options use them."""
    found = []
    if options.mailto is not None:
        found.append(
            crossref.crossref_service(
                mailto=options.mailto,
                base_url=options.crossref_url,
                timeout_s=options.lookup_timeout_s,
                requests_per_minute=options.lookups_per_minute,
                max_parallel=options.max_lookups,
            )
        )
    if options.grobid_url is not None:
        paths = find_papers(options.papers, key="options.papers")
        pdfs = {file_hash(path): path for path in paths if path.suffix.lower() in PDF}
        found.append(grobid.grobid_service(options.grobid_url, pdfs))
    return found


def items(material: Material) -> Iterator[Item | Dropped]:
    """One item per citing sentence, or per PDF that GROBID will read."""
    for path, name in material.names.items():
        is_pdf = path.suffix.lower() in PDF
        if is_pdf and material.options.grobid_url is not None:
            yield Item(name, file_hash(path))
            continue
        try:
            paper = read_pdf(path, name) if is_pdf else read_xml_paper(path.read_bytes(), name)
        except Unreadable as error:
            yield Dropped(name, error.reason, f"{error.detail}, of {path}", is_bad=True)
            continue
        yield from _claims(paper)


def _claims(paper: Paper) -> Iterator[Item | Dropped]:
    if not paper.claims:
        yield Dropped(paper.id, "no sentence that cites")
    for number, claim in enumerate(paper.claims, start=1):
        yield Item(f"{paper.id}#{number}", Cited(paper, claim))


def make(item: Item, material: Material, *, session: TeacherSession) -> Iterator[Row | Dropped]:
    """The row of a sentence, or the rows of a PDF."""
    if isinstance(item.data, Cited):
        yield from _make(item.id, item.data, material, session)
        return
    tei = session.look_up(grobid.NAME, {"sha256": item.data})["tei"]
    try:
        paper = read_xml_paper(tei.encode(), item.id)
    except Unreadable as error:
        yield Dropped(item.id, error.reason, f"GROBID's TEI: {error.detail}", is_bad=True)
        return
    for inner in _claims(paper):
        yield from (
            _make(inner.id, inner.data, material, session) if isinstance(inner, Item) else (inner,)
        )


def _make(
    id: str, cited: Cited, material: Material, session: TeacherSession
) -> Iterator[Row | Dropped]:
    paper, claim, options = cited.paper, cited.claim, material.options
    if len(claim.statement.split()) < options.min_words:
        yield Dropped(id, f"a sentence of fewer than {options.min_words} words")
        return
    search = Search(material.works, session, options.min_similarity, options.year_window)
    references = [paper.references[name] for name in claim.cited]
    found = {reference.id: search.find(reference) for reference in references}
    works = [work for work in found.values() if work is not None]
    if not works or (options.require_all and len(works) < len(found)):
        missing = next(r for r in references if found[r.id] is None)
        yield Dropped(id, "a cited work was not found", missing.title or missing.text[:80])
        return
    question = _ask(paper, claim, works, options, session)
    if question is not None and find_dois(question).dois:
        yield Dropped(id, "a question that gives a DOI", question, is_bad=True)
        return
    others = search.others(paper, claim, num=options.num_other_works)
    listed = {work.doi: work for work in (*others, *works)}
    yield Row(
        id,
        group=paper.doi or paper.id,
        fields={
            "question": question,
            "context": "\n".join(_shuffled([f"{w.titles[0]}: {w.doi}" for w in listed.values()])),
            "dois": list(dict.fromkeys(work.doi for work in works)),
            "statement": claim.statement,
        },
        origin=UNFILLED if question is None else _ORIGINS[options.question_by],
        sources=(f"doi:{paper.doi}" if paper.doi else paper.id, *(f"doi:{d}" for d in listed)),
        license=paper.license or options.license,
    )


def _ask(
    paper: Paper, claim: Claim, works: Sequence[Work], options: Options, session: TeacherSession
) -> str | None:
    """The question; None if it needs a teacher and there is none."""
    language = paper.language if paper.language in LANGUAGES else _detect(claim.statement)
    if options.question_by == "template":
        return FRAMES[language].format(claim.statement)
    if not session.has_teacher:
        return None
    fields: dict[str, Any] = {
        "statement": claim.statement,
        "titles": "\n".join(work.titles[0] for work in works),
        "language": LANGUAGES[language],
    }
    return " ".join(session.teach(options.question, fields).text.split())


def _detect(text: str) -> str:
    from datasets_src.text.language import detect

    return detect(text) or "en"


def _shuffled(lines: Sequence[str]) -> list[str]:
    """Order by hash: uninformative, and the same on every machine."""
    return sorted(lines, key=lambda line: hashlib.sha256(line.encode()).digest())
