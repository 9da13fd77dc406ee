"""Reading questions from SQAC or any dataset in SQuAD's format; needs no teacher.

files: [train.json]         the questions of a context become one row
{"passage": "Biografía \\nElvira Ribalta nació …", "questions": "1. ¿Dónde nació …?\\n2. ¿Qué …?"}

The JSON is read directly, from disk or the Hub (`hub_dataset: PlanTL-GOB-ES/SQAC`): the URL in the
Hub's loader script is dead. Rows are grouped by article, so a split never separates its
passages.
"""

import hashlib
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import Field, model_validator

from datasets_src.config import Section
from datasets_src.errors import UserError
from datasets_src.recipes.contract import GIVEN, Dropped, Item, Row, TeacherSession
from datasets_src.recipes.sources.hub_files import download
from datasets_src.recipes.sources.squad import SquadQuestion, read_squad

TASK = "questions"
OUTPUT = "questions"
DEPENDS_ON = ("passage",)
PLACEHOLDERS: Mapping[str, Mapping[str, str]] = {}
MUST_NAME: Mapping[str, tuple[str, ...]] = {}
LICENSE = "CC-BY-SA-4.0"  # SQAC's


class Options(Section):
    """`options:` of the kind."""

    files: tuple[str, ...] = Field((), description="files in SQuAD's JSON, or tables of rows")
    hub_dataset: str | None = Field(
        None,
        pattern=r"^[\w.-]+/[\w.-]+$",
        description="alternative: owner/name of a Hub dataset",
    )
    hub_files: tuple[str, ...] = Field(
        ("train.json", "dev.json", "test.json"), description="files of hub_dataset"
    )
    hub_revision: str | None = Field(None, description="branch, tag or commit of hub_dataset")
    sections: tuple[str, ...] = Field(
        (), description="keep contexts that begin with one of these, e.g. Biografía; empty: all"
    )
    titles: tuple[str, ...] = Field((), description="keep these articles; empty: all")
    min_questions: int = Field(1, ge=1, description="drop contexts with fewer questions")
    max_questions: int = Field(10, ge=1, description="max questions of a context, first ones kept")
    license: str | None = Field(None, description=f"licence of the dataset; default {LICENSE}")

    @model_validator(mode="after")
    def _check_source(self) -> "Options":
        if bool(self.files) == (self.hub_dataset is not None):
            raise ValueError("files or hub_dataset: set exactly one of them")
        if self.min_questions > self.max_questions:
            raise ValueError("min_questions is more than max_questions; lower it")
        return self


@dataclass(frozen=True)
class Material:
    """Usable questions by context, in file order."""

    options: Options
    contexts: Mapping[str, Sequence[SquadQuestion]]
    dropped: Sequence[Dropped]


def open_material(options: Options) -> Material:
    """Read the files. UserError: missing, unreadable, or in another format."""
    gathered: dict[str, list[SquadQuestion]] = defaultdict(list)
    dropped = []
    for path, key in _paths(options):
        for number, question in enumerate(read_squad(path, key=key), start=1):
            id = f"{path.name}:{number}"
            if question.fault:
                dropped.append(Dropped(id, f"a question with {question.fault}", is_bad=True))
            elif question.answers and not any(
                text in question.context for text in question.answers
            ):
                reason = "an answer that is not in its passage"
                dropped.append(Dropped(id, reason, question.answers[0][:80], is_bad=True))
            else:
                gathered[question.context].append(question)
    held = {question.title for group in gathered.values() for question in group}
    if missing := [title for title in options.titles if title not in held]:
        raise UserError(
            f"options.titles: {', '.join(missing)}: no article in the files has this title"
        )
    return Material(options, gathered, dropped)


def _paths(options: Options) -> Iterator[tuple[Path, str]]:
    if options.hub_dataset is None:
        yield from ((Path(name).expanduser(), "options.files") for name in options.files)
        return
    for name in options.hub_files:
        key = "options.hub_files"
        yield (
            download(options.hub_dataset, name, revision=options.hub_revision, key=key),
            key,
        )


def items(material: Material) -> Iterator[Item | Dropped]:
    """One item per context of the selected sections and articles."""
    yield from material.dropped
    options = material.options
    for context, questions in material.contexts.items():
        id = hashlib.sha256(context.encode()).hexdigest()[:16]
        if options.sections and not context.lstrip().startswith(options.sections):
            yield Dropped(id, "another section")
        elif options.titles and questions[0].title not in options.titles:
            yield Dropped(id, "another article")
        else:
            yield Item(id, questions)


def make(item: Item, material: Material, *, session: TeacherSession) -> Iterator[Row | Dropped]:
    """One row: the context as passage, its distinct questions in file order."""
    options = material.options
    distinct: dict[str, SquadQuestion] = {}
    for one in item.data:
        distinct.setdefault(one.question.casefold(), one)
    kept = list(distinct.values())[: options.max_questions]
    if len(kept) < options.min_questions:
        yield Dropped(item.id, f"fewer than {options.min_questions} questions")
        return
    first = kept[0]
    yield Row(
        item.id,
        group=first.title or item.id,
        fields={
            "passage": first.context,
            "questions": "\n".join(f"{n}. {one.question}" for n, one in enumerate(kept, start=1)),
        },
        origin=GIVEN,
        sources=tuple(f"{options.hub_dataset or 'SQAC'}:{one.id}" for one in kept),
        license=options.license,
    )
