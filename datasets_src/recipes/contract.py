"""The interface of a recipe kind: a module of plain functions in datasets_src/recipes/kinds.

It is loaded by name (`kind:` of a recipe YAML), so adding one changes no other file. For example:

    TASK = "doi"                            task whose FIELDS the rows have
    OUTPUT = "question"                     field that the teacher writes
    DEPENDS_ON = ("context",)               fields that it must depend on (dependence.py)
    PLACEHOLDERS = {"question": {"context": "the sentence", "title": "of the cited work"}}
                                            placeholders allowed in each prompt of Options
    MUST_NAME = {"question": ("context",)}  and required: without them all rows get one answer
    LICENSE = "CC-BY-4.0"                   default licence of a row

    class Options(Section):                 `options:` of the recipe; prompts have the type Prompt
        question: Prompt = ...

    def open_material(options) -> M         read and check the files; UserError before any request
    def items(material) -> Iterator[Item | Dropped]
                                            the work items, in a fixed order
    def make(item, material, *, session) -> Iterator[Row | Dropped]
                                            the rows of one item; runs in a thread pool, and rows
                                            are written in the order of `items`
    def services(options) -> Sequence[Service]
                                            optional: look-up services for `make`
    def report(material) -> dict[str, Any]  optional: facts about the material, for build.json
                                            and the card

`make` uses blocking calls and needs no code for rate limits, retries, caching or resuming: a reply
is on disk before the call returns, so after a kill the same call returns it at once. It must be a
pure function of the item, the material and the replies.

    found = session.look_up("crossref", {"title": title, "year": 2019})        JSON of a Service
    answer = session.teach(material.options.question, {"context": sentence}, schema=QUESTION)
    answer.text, answer.value               `value` if a JSON schema was given
    wordings = session.reword("¿Dónde vive?", num=3)       paraphrases by the teacher

Each call may raise NoAnswer (a refusal, an empty answer, invalid JSON, a 4xx). If `make` does not
catch it, the item is dropped and counted under its reason.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from pydantic import Field

from datasets_src.config import Section

TEACHER, GIVEN = "teacher", "given"  # origins; a kind may add its own, e.g. "copy"


@dataclass(frozen=True)
class Item:
    """A work item. `id` is unique and does not depend on other items; `data` is up to the kind."""

    id: str
    data: Any


@dataclass(frozen=True)
class Row:
    """A row of the dataset: `fields` are the FIELDS of the kind's TASK, as JSON values.

    `sources` are identifiers of its source ("doi:10.1000/182", "DescripcionesEspecies:488");
    `origin` says how its OUTPUT was made: TEACHER, GIVEN (found in the material) or a value of the
    kind ("copy", "template"). Licence, teacher name and recipe hash are added on writing.
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
    """An item or row left out, counted by `reason`, e.g. "longer than 2,048 tokens".

    `is_bad` marks a fault ("unreadable XML", with `detail` "mismatched tag, line 3"); the share of
    faults is limited by the recipe's max_bad_items.
    """

    id: str
    reason: str
    detail: str = ""
    is_bad: bool = False


class NoAnswer(Exception):
    """A service answered, but the answer is unusable; counted by `reason`."""

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(f"{reason}: {detail}" if detail else reason)
        self.reason = reason
        self.detail = detail


class ServiceFault(Exception):
    """Raised by a Service's `call`. `status` is None if no complete answer arrived.

    408, 429, 5xx and None are retried, after `retry_after_s` at the earliest; 401, 402, 403 and 404
    stop the build; other statuses become NoAnswer.
    """

    def __init__(self, status: int | None, detail: str, *, retry_after_s: float = 0.0) -> None:
        super().__init__(f"{status or 'no answer'}: {detail}")
        self.status = status
        self.detail = detail
        self.retry_after_s = retry_after_s


@dataclass(frozen=True)
class Service:
    """A network look-up. `call` makes one try: JSON in, JSON out, thread-safe.

    The cache key is the name and the whole request, so the request must hold all inputs.
    """

    name: str
    call: Callable[[Mapping[str, Any]], Any]
    requests_per_minute: float = float("inf")
    max_parallel: int = 8
    max_tries: int = 6


@dataclass(frozen=True)
class Answer:
    """The teacher's answer: `text`, and `value`, its parsed JSON if a schema was given."""

    text: str
    value: Any = None


class Prompt(Section):
    """A prompt template for the teacher: `{name}` is a field, `{{` a literal brace."""

    template: str = Field(min_length=1, description="text with {placeholders}")
    system: str | None = Field(None, description="system prompt")
    examples_file: str | None = Field(
        None, description="hand-written rows, used as few-shot examples"
    )
    examples_columns: dict[str, str] = Field(
        default_factory=dict, description="placeholder, or `answer` -> column of examples_file"
    )
    examples_match: str | None = Field(
        None,
        description="placeholder whose value examples must share with the row; if none: all",
    )
    num_examples: int = Field(3, ge=0, description="number of few-shot examples in a prompt")


class TeacherSession(Protocol):
    """Access to the teacher and the look-ups for `make`; see the top of this file."""

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
        """The teacher's answer to the prompt filled with `fields`."""

    def reword(self, text: str, *, num: int) -> list[str]:
        """`num` distinct paraphrases of a text."""

    def look_up(self, service: str, request: Mapping[str, Any]) -> Any:
        """The reply of one of the kind's `services`."""
