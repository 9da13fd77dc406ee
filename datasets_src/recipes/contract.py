"""The contract of a kind of recipe: a module of plain functions in datasets_src/recipes/kinds.

It is found by name (`kind:` of a recipe YAML), so adding one touches no other file. For instance

    TASK = "doi"                            the task whose FIELDS its rows have
    OUTPUT = "question"                     the field that the teacher writes, and
    DEPENDS_ON = ("context",)               the fields with which it must change (dependence.py)
    PLACEHOLDERS = {"question": {"context": "the sentence", "title": "of the cited work"}}
                                            what each prompt of Options may name, and
    MUST_NAME = {"question": ("context",)}  what it must: without it all rows get one answer
    LICENSE = "CC-BY-4.0"                   of a row that says no other

    class Options(Section):                 `options:` of the recipe; prompts are of type Prompt
        question: Prompt = ...

    def open_material(options) -> M         reads and checks the files; UserError, before any call
    def items(material) -> Iterator[Item | Dropped]
                                            the work, in an order that is always the same
    def make(item, material, *, desk) -> Iterator[Row | Dropped]
                                            the rows of one item; many items are made at a time,
                                            each in a thread, and written in the order of `items`
    def services(options) -> Sequence[Service]
                                            optional: look-ups that `make` may ask for
    def report(material) -> dict[str, Any]  optional: facts on the material itself, for
                                            build.json and the card

`make` asks by blocking calls, one after the other, and need not care for limits, retries, caching
or resuming: a reply is on the disk before the call returns, so after a kill the same call returns
it at once. It must be a pure function of the item, the material and the replies.

    found = desk.look_up("crossref", {"title": title, "year": 2019})        JSON of a Service
    answer = desk.teach(material.options.question, {"context": sentence}, schema=QUESTION)
    answer.text, answer.value               `value` where a JSON schema was given
    wordings = desk.reword("¿Dónde vive?", num=3)       other wordings, by the teacher

Each may raise NoAnswer (a refusal, an empty answer, not the JSON asked for, a 4xx); where `make`
lets it pass, the item is left out and counted under its reason.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from pydantic import Field

from datasets_src.config import Section

TEACHER, GIVEN = "teacher", "given"  # origins; a kind has others of its own, e.g. "copy"


@dataclass(frozen=True)
class Item:
    """A piece of work. `id` is its own whatever other items there are; `data` is up to the kind."""

    id: str
    data: Any


@dataclass(frozen=True)
class Row:
    """A row of the dataset: `fields` are the FIELDS of the kind's TASK, as JSON values.

    `sources` say where it is from ("doi:10.1000/182", "DescripcionesEspecies:488"), `origin` how
    its OUTPUT came about: TEACHER, GIVEN (it was in the material) or a word of the kind's
    ("copy", "template"). The licence, the teacher's name and the recipe's hash are added for it.
    """

    id: str
    group: str
    fields: Mapping[str, Any]
    origin: str
    sources: tuple[str, ...]
    license: str | None = None
    split: str | None = None


@dataclass(frozen=True)
class Dropped:
    """What gives no row, counted by `reason`, e.g. "longer than 2,048 tokens".

    `is_bad` where it is a fault ("unreadable XML", with `detail` "mismatched tag, line 3"): those
    may be no more than the recipe's max_bad_items.
    """

    id: str
    reason: str
    detail: str = ""
    is_bad: bool = False


class NoAnswer(Exception):
    """A service answered, and the answer is of no use; `reason` is what is counted."""

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(f"{reason}: {detail}" if detail else reason)
        self.reason = reason
        self.detail = detail


class ServiceFault(Exception):
    """What a Service's `call` raises. `status` is None where no whole answer came.

    408, 429, 5xx and None are tried again, after `retry_after_s` at the earliest; 401, 403 and
    404 stop the build; others are NoAnswer.
    """

    def __init__(self, status: int | None, detail: str, *, retry_after_s: float = 0.0) -> None:
        super().__init__(f"{status or 'no answer'}: {detail}")
        self.status = status
        self.detail = detail
        self.retry_after_s = retry_after_s


@dataclass(frozen=True)
class Service:
    """A look-up over the network. `call` tries one request once: JSON in, JSON out, thread-safe.

    A reply is kept under the name and the whole request, so that all it depends on is in there.
    """

    name: str
    call: Callable[[Mapping[str, Any]], Any]
    requests_per_minute: float = float("inf")
    max_parallel: int = 8
    max_tries: int = 6


@dataclass(frozen=True)
class Answer:
    """The teacher's answer: `text`, and `value`, the JSON in it, if a schema was given."""

    text: str
    value: Any = None


class Prompt(Section):
    """A prompt to the teacher: `{name}` stands for a field, `{{` for a brace."""

    template: str = Field(min_length=1, description="text with {placeholders}")
    system: str | None = Field(None, description="system prompt")
    examples_file: str | None = Field(None, description="hand-written rows, shown as solved")
    examples_columns: dict[str, str] = Field(
        default_factory=dict, description="placeholder, or `answer` -> column of that file"
    )
    examples_match: str | None = Field(
        None, description="placeholder in which they equal the question, where some do"
    )
    num_examples: int = Field(3, ge=0, description="solved rows in the prompt before a question")


class TeacherSession(Protocol):
    """Where `make` asks; see the top of this file."""

    @property
    def has_teacher(self) -> bool:
        """Whether the recipe has a teacher; without one `teach` and `reword` raise NoAnswer."""

    def teach(
        self,
        prompt: Prompt,
        fields: Mapping[str, Any],
        *,
        schema: Mapping[str, Any] | None = None,
    ) -> Answer:
        """The teacher's answer to a prompt with its fields filled in."""

    def reword(self, text: str, *, num: int) -> list[str]:
        """`num` other wordings of a text, all different."""

    def look_up(self, service: str, request: Mapping[str, Any]) -> Any:
        """The reply of one of the kind's `services`."""
