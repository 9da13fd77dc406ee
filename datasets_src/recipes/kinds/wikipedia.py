"""Reading questions on passages of Wikipedia's articles, asked by the teacher.

titles: [Tritón], user_agent: "my-project (ana@example.org)"     articles by wikipedia-api, or
articles_file: articles.jsonl                                    articles as it gave them before
{"passage": "Cría\\nLos tritones crían en marzo …", "questions": "1. ¿Cuándo crían …?\\n2. ¿Qué …?"}

An article is cut into passages at its headings and paragraphs. Rows are grouped by article. The
template in place of a teacher makes statements to judge of a passage's own sentences: enough for
a trial run, not for a dataset.
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
        "num": "how many questions",
        "language": "of the article: español, català or English",
    }
}
MUST_NAME = {"ask": ("passage", "num")}
LICENSE = "CC-BY-SA-4.0"  # Wikipedia's
TEMPLATE, UNFILLED = "template", "unfilled"
MIN_STATEMENT_WORDS = 5
# Headings of what is no text of an article.
APART = (
    *("referencias", "véase también", "enlaces externos", "bibliografía", "notas", "galería"),
    *("referències", "vegeu també", "enllaços externs", "bibliografia", "notes", "galeria"),
    *("references", "see also", "external links", "bibliography", "further reading", "gallery"),
)
LANGUAGES = {"es": "español", "ca": "català", "en": "English"}
JUDGED = {"es": "¿Verdadero o falso? {}", "ca": "Vertader o fals? {}", "en": "True or false? {}"}


class Options(Section):
    """`options:` of the kind."""

    titles: tuple[str, ...] = Field((), description="titles of the articles")
    language: Literal["es", "ca", "en"] = Field("es", description="which Wikipedia")
    user_agent: str | None = Field(
        None, min_length=5, description="who asks, with an address; Wikipedia refuses without"
    )
    lookups_per_minute: float = Field(
        wikipedia.REQUESTS_PER_MINUTE, gt=0, description="articles a minute"
    )
    lookup_timeout_s: float = Field(30.0, gt=0, description="seconds to wait for an article")
    articles_file: str | None = Field(
        None, description="instead: rows {title, sections: [{title, text}]}, and a pageid"
    )
    sections: tuple[str, ...] = Field(
        (), description="keep sections with these headings, those below them too; none: all"
    )
    min_words: int = Field(30, ge=1, description="shorter passages are left out")
    max_words: int = Field(250, ge=1, description="longer sections are cut at paragraphs")
    num_questions: int = Field(3, ge=1, le=20, description="questions on a passage")
    questions_by: Literal["teacher", "template"] = Field(
        "teacher", description="who asks; a template makes true/false statements"
    )
    license: str | None = Field(None, description=f"of the articles, if not {LICENSE}")
    ask: Prompt = Field(
        Prompt(
            template="{passage}\n\nEscribe en {language} exactamente {num} preguntas de"
            " comprensión lectora sobre este texto, sin respuestas. Responde en JSON:"
            ' {{"questions": ["…"]}}'
        ),
        description="prompt of the teacher",
    )

    @model_validator(mode="after")
    def _one_source(self) -> "Options":
        if (self.articles_file is None) == (self.user_agent is None):
            raise ValueError(
                "user_agent or articles_file: set the one to read from, Wikipedia (say who you are,"
                " e.g. my-project (ana@example.org)) or a file"
            )
        if self.user_agent is not None and not self.titles:
            raise ValueError("titles: missing; name the articles")
        if self.min_words > self.max_words:
            raise ValueError("min_words is more than max_words; lower it")
        return self


@dataclass(frozen=True)
class Material:
    """`articles` are those of a file by title; None where Wikipedia is asked."""

    options: Options
    titles: Sequence[str]
    articles: Mapping[str, Mapping[str, Any]] | None


def open_material(options: Options) -> Material:
    """Read the file of articles, if any. UserError: unreadable, or without one that is named."""
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
                f"options.articles_file: {path}: row {number} is no article; write"
                ' {"title": …, "sections": [{"title": …, "text": …}]}'
            )
        articles[str(row["title"])] = row
    if lost := [title for title in titles if title not in articles]:
        raise UserError(f"options.titles: {', '.join(lost)}: not in {path}")
    return Material(options, titles or list(articles), articles)


def services(options: Options) -> Sequence[Service]:
    """Wikipedia, where it is asked."""
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
    """An article."""
    return (Item(title, title) for title in material.titles)


def make(item: Item, material: Material, *, session: TeacherSession) -> Iterator[Row | Dropped]:
    """A row of each passage."""
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
    """Sections under their headings, cut at paragraphs, and these at sentences, to max_words."""
    for section in sections:
        path = [part.strip() for part in section.get("title", "").split(" / ")]
        if any(part.casefold() in APART for part in path):
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
    """Parts joined up to max_words; a longer part is on its own."""
    held: list[str] = []
    for part in parts:
        if held and sum(len(p.split()) for p in (*held, part)) > max_words:
            yield "\n".join(held)
            held = []
        held.append(part)
    if held:
        yield "\n".join(held)


def _ask(passage: str, options: Options, session: TeacherSession) -> tuple[str | None, str]:
    """The numbered questions and who asks; None where the teacher should and there is none."""
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
