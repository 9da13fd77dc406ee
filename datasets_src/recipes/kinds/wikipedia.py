"""Reading questions on passages of Wikipedia articles, written by the teacher.

titles: [Tritón], user_agent: "my-project (ana@example.org)"     articles by wikipedia-api, or
articles_file: articles.jsonl                                    articles in the same format
{"passage": "Cría\\nLos tritones crían en marzo …", "questions": "1. ¿Cuándo crían …?\\n2. ¿Qué …?"}

Articles are cut into passages at headings and paragraphs; rows are grouped by article. Without a
teacher, a template turns sentences of the passage into true/false statements: enough for a trial
run, not for a dataset.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, model_validator

from datasets_src.config import Section
from datasets_src.errors import UserError
from datasets_src.papers.sentences import split_sentences
from datasets_src.reading.readers import read_rows
from datasets_src.recipes.contract import (
    TEACHER,
    Dropped,
    Item,
    NoAnswer,
    Prompt,
    Row,
    Service,
    TeacherSession,
)
from datasets_src.recipes.services import wikipedia
from datasets_src.text.question_lists import read_list

TASK = "questions"
OUTPUT = "questions"
DEPENDS_ON = ("passage",)
PLACEHOLDERS = {
    "ask": {
        "passage": "the text to ask about",
        "num": "number of questions",
        "language": "language of the article: español, català or English",
    }
}
MUST_NAME = {"ask": ("passage", "num")}
LICENSE = "CC-BY-SA-4.0"  # Wikipedia's
TEMPLATE, UNFILLED = "template", "unfilled"
MIN_STATEMENT_WORDS = 5
# Sections without prose.
SKIPPED_SECTIONS = (
    *("referencias", "véase también", "enlaces externos", "bibliografía", "notas", "galería"),
    *("referències", "vegeu també", "enllaços externs", "bibliografia", "notes", "galeria"),
    *("references", "see also", "external links", "bibliography", "further reading", "gallery"),
)
LANGUAGES = {"es": "español", "ca": "català", "en": "English"}
JUDGED = {"es": "¿Verdadero o falso? {}", "ca": "Vertader o fals? {}", "en": "True or false? {}"}


class Options(Section):
    """`options:` of the kind."""

    titles: tuple[str, ...] = Field((), description="titles of the articles")
    language: Literal["es", "ca", "en"] = Field("es", description="language of the Wikipedia")
    user_agent: str | None = Field(
        None, min_length=5, description="project and contact address, required by Wikipedia"
    )
    lookups_per_minute: float = Field(
        wikipedia.REQUESTS_PER_MINUTE, gt=0, description="rate limit in articles"
    )
    lookup_timeout_s: float = Field(30.0, gt=0, description="look-up timeout in seconds")
    articles_file: str | None = Field(
        None, description="alternative: rows {title, sections: [{title, text}], pageid}"
    )
    sections: tuple[str, ...] = Field(
        (), description="keep sections with these headings and their subsections; empty: all"
    )
    min_words: int = Field(30, ge=1, description="drop shorter passages")
    max_words: int = Field(250, ge=1, description="cut longer sections at paragraphs")
    num_questions: int = Field(3, ge=1, le=20, description="questions per passage")
    questions_by: Literal["teacher", "template"] = Field(
        "teacher", description="source of the questions; template: true/false statements"
    )
    license: str | None = Field(None, description=f"licence of the articles; default {LICENSE}")
    ask: Prompt = Field(
        Prompt(
            template="{passage}\n\nEscribe en {language} exactamente {num} preguntas de"
            " comprensión lectora sobre este texto, sin respuestas. Responde en JSON:"
            ' {{"questions": ["…"]}}'
        ),
        description="prompt for the teacher",
    )

    @model_validator(mode="after")
    def _check_source(self) -> "Options":
        if (self.articles_file is None) == (self.user_agent is None):
            raise ValueError(
                "user_agent or articles_file: set exactly one, to read Wikipedia (with an address,"
                " e.g. my-project (ana@example.org)) or a file"
            )
        if self.user_agent is not None and not self.titles:
            raise ValueError("titles: missing; list the articles")
        if self.min_words > self.max_words:
            raise ValueError("min_words is more than max_words; lower it")
        return self


@dataclass(frozen=True)
class Material:
    """`articles` maps titles to the articles of a file; None if Wikipedia is used."""

    options: Options
    titles: Sequence[str]
    articles: Mapping[str, Mapping[str, Any]] | None


def open_material(options: Options) -> Material:
    """Read the articles file, if any. UserError: unreadable, or a title is not in it."""
    titles = list(dict.fromkeys(options.titles))
    if options.articles_file is None:
        return Material(options, titles, None)
    path = Path(options.articles_file).expanduser()
    articles = {}
    for number, row in enumerate(read_rows(path, key="options.articles_file"), start=1):
        sections = row.get("sections")
        whole = isinstance(sections, list) and all(
            isinstance(part, dict) and isinstance(part.get("text"), str) for part in sections
        )
        if not row.get("title") or not whole:
            raise UserError(
                f"options.articles_file: {path}: row {number} is not an article; write"
                ' {"title": …, "sections": [{"title": …, "text": …}]}'
            )
        articles[str(row["title"])] = row
    if missing := [title for title in titles if title not in articles]:
        raise UserError(f"options.titles: {', '.join(missing)}: not in {path}")
    return Material(options, titles or list(articles), articles)


def services(options: Options) -> Sequence[Service]:
    """Wikipedia, if the options use it."""
    if options.user_agent is None:
        return ()
    return (
        wikipedia.wikipedia_service(
            user_agent=options.user_agent,
            timeout_s=options.lookup_timeout_s,
            requests_per_minute=options.lookups_per_minute,
        ),
    )


def items(material: Material) -> Iterator[Item | Dropped]:
    """One item per article."""
    return (Item(title, title) for title in material.titles)


def make(item: Item, material: Material, *, session: TeacherSession) -> Iterator[Row | Dropped]:
    """One row per passage."""
    options, title = material.options, str(item.data)
    request = {"language": options.language, "title": title}
    articles = material.articles
    article = session.look_up(wikipedia.NAME, request) if articles is None else articles[title]
    if not article["sections"]:
        yield Dropped(item.id, "no such article", is_bad=True)
        return
    pageid, title = article.get("pageid"), str(article["title"])
    source = f"https://{options.language}.wikipedia.org/?curid={pageid}" if pageid else title
    for number, passage in enumerate(_passages(article["sections"], options), start=1):
        id = f"{item.id}#{number}"
        if len(passage.split()) < options.min_words:
            yield Dropped(id, f"a passage of fewer than {options.min_words} words")
            continue
        try:
            questions, origin = _ask(passage, options, session)
        except NoAnswer as error:
            yield Dropped(id, error.reason, error.detail, is_bad=True)
            continue
        if questions is not None and len(read_list(questions).questions) != options.num_questions:
            yield Dropped(id, "not as many questions as asked", questions[:80], is_bad=True)
            continue
        fields = {"passage": passage, "questions": questions}
        group = f"{options.language}:{title}"
        yield Row(id, group, fields, origin, sources=(source,), license=options.license)


def _passages(sections: Sequence[Mapping[str, str]], options: Options) -> Iterator[str]:
    """Sections with their headings, cut to max_words at paragraphs, else at sentences."""
    for section in sections:
        path = [part.strip() for part in section.get("title", "").split(" / ")]
        if any(part.casefold() in SKIPPED_SECTIONS for part in path):
            continue
        if options.sections and not set(path) & set(options.sections):
            continue
        parts: list[str] = []
        for paragraph in filter(None, map(str.strip, section["text"].split("\n"))):
            whole = len(paragraph.split()) <= options.max_words
            parts += [paragraph] if whole else split_sentences(paragraph)
        head = f"{path[-1]}\n" if path[-1] else ""
        yield from (head + text for text in _joined(parts, options.max_words))


def _joined(parts: Sequence[str], max_words: int) -> Iterator[str]:
    """Greedily join parts up to max_words; a longer part stays alone."""
    joined: list[str] = []
    for part in parts:
        if joined and sum(len(p.split()) for p in (*joined, part)) > max_words:
            yield "\n".join(joined)
            joined = []
        joined.append(part)
    if joined:
        yield "\n".join(joined)


def _ask(passage: str, options: Options, session: TeacherSession) -> tuple[str | None, str]:
    """The numbered questions (None if they need a teacher and there is none) and their origin."""
    if options.questions_by == "template":
        body = passage.split("\n", 1)[-1]
        sentences = [s for line in body.split("\n") for s in split_sentences(line)]
        statements = [s for s in sentences if len(s.split()) >= MIN_STATEMENT_WORDS]
        frame = JUDGED[options.language]
        return _numbered([frame.format(s) for s in statements[: options.num_questions]]), TEMPLATE
    if not session.has_teacher:
        return None, UNFILLED
    num = options.num_questions
    strings = {"type": "array", "items": {"type": "string"}, "minItems": num, "maxItems": num}
    schema = {
        "type": "object",
        "properties": {"questions": strings},
        "required": ["questions"],
        "additionalProperties": False,
    }
    fields = {"passage": passage, "num": num, "language": LANGUAGES[options.language]}
    answer = session.teach(options.ask, fields, schema=schema)
    return _numbered([" ".join(text.split()) for text in answer.value["questions"]]), TEACHER


def _numbered(questions: Sequence[str]) -> str:
    return "\n".join(f"{number}. {text}" for number, text in enumerate(questions, start=1))
