"""Conversations of reading questions from SQAC, or any set in SQuAD's form: no teacher is needed.

files: [train.json]         questions of a context are gathered into one row
{"passage": "Biografía \\nElvira Ribalta nació …", "questions": "1. ¿Dónde nació …?\\n2. ¿Qué …?"}

The JSON itself is read, from disk or the Hub (`hub_dataset: PlanTL-GOB-ES/SQAC`): the loader script
in the same repository downloads from a dead address. Rows are grouped by article, so that
its passages stay on one side of a split.
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

    files: tuple[str, ...] = Field((), description="files in SQuAD's JSON, or rows of any kind")
    hub_dataset: str | None = Field(
        None,
        pattern=r"^[\w.-]+/[\w.-]+$",
        description="instead: owner/name of a dataset on the Hub",
    )
    hub_files: tuple[str, ...] = Field(
        ("train.json", "dev.json", "test.json"), description="its files"
    )
    hub_revision: str | None = Field(None, description="branch, tag or commit of it")
    sections: tuple[str, ...] = Field(
        (), description="keep contexts that begin so, e.g. Biografía; none: all"
    )
    titles: tuple[str, ...] = Field((), description="keep these articles; none: all")
    min_questions: int = Field(1, ge=1, description="contexts with fewer questions are left out")
    max_questions: int = Field(10, ge=1, description="questions kept per context, from the first")
    license: str | None = Field(None, description=f"of the set, if not {LICENSE}")

    @model_validator(mode="after")
    def _one_source(self) -> "Options":
        if bool(self.files) == (self.hub_dataset is not None):
            raise ValueError("files or hub_dataset: set the one to read, not both or neither")
        if self.min_questions > self.max_questions:
            raise ValueError("min_questions is more than max_questions; lower it")
        return self


@dataclass(frozen=True)
class Material:
    """Questions that can be used, gathered by context in the order of the files."""

    options: Options
    contexts: Mapping[str, Sequence[SquadQuestion]]
    dropped: Sequence[Dropped]


def open_material(options: Options) -> Material:
    """Read the files. UserError: missing, unreadable, or of another form."""
    gathered: dict[str, list[SquadQuestion]] = defaultdict(list)
    dropped = []
    for path, key in _paths(options):
        for number, asked in enumerate(read_squad(path, key=key), start=1):
            id = f"{path.name}:{number}"
            if asked.fault:
                dropped.append(Dropped(id, f"a question with {asked.fault}", is_bad=True))
            elif asked.answers and not any(text in asked.context for text in asked.answers):
                reason = "an answer that is not in its passage"
                dropped.append(Dropped(id, reason, asked.answers[0][:80], is_bad=True))
            else:
                gathered[asked.context].append(asked)
    held = {asked.title for group in gathered.values() for asked in group}
    if lost := [title for title in options.titles if title not in held]:
        raise UserError(f"options.titles: {', '.join(lost)}: no article of the files is called so")
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
    """A context and its questions, those of the sections and articles that are wanted."""
    yield from material.dropped
    options = material.options
    for context, asked in material.contexts.items():
        id = hashlib.sha256(context.encode()).hexdigest()[:16]
        if options.sections and not context.lstrip().startswith(options.sections):
            yield Dropped(id, "another section")
        elif options.titles and asked[0].title not in options.titles:
            yield Dropped(id, "another article")
        else:
            yield Item(id, asked)


def make(item: Item, material: Material, *, session: TeacherSession) -> Iterator[Row | Dropped]:
    """One row: the context as a passage, its questions in their order, none twice."""
    options, asked = material.options, item.data
    questions: dict[str, SquadQuestion] = {}
    for one in asked:
        questions.setdefault(one.question.casefold(), one)
    kept = list(questions.values())[: options.max_questions]
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
