"""Tasks: modules of plain functions under datasets_src/tasks, or anywhere by a dotted path.

task = load_task("text2sql")
options = task_options(task, {"dialect": "sqlite"})

`Task` is what a task module must define. It may define more, each part a protocol of its own:
`BatchScorer.score_all`, `Sliced.slices`, `ReferenceReader.from_reference`.
"""

import difflib
import importlib
import importlib.util
import pkgutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Protocol, cast, runtime_checkable

from pydantic import ValidationError

from datasets_src.config import Section
from datasets_src.config_errors import explain
from datasets_src.errors import UserError
from datasets_src.types import Example, ExampleRenderer

PACKAGE = "datasets_src.tasks"
# Of checkpoints, whatever the task: -log p per trained token of a row, in nats (eval_loss.py).
EVAL_LOSS = "eval_loss"
# Fields that every task accepts in addition to its own FIELDS.
COMMON_FIELDS = ("id", "group", "split")
CONTRACT = (
    *("FIELDS", "METRIC", "METRICS", "STOP", "Options"),
    *("load", "to_messages", "to_text", "score", "why"),
)


class Task(ExampleRenderer, Protocol):
    """What a task module defines; mypy checks the shipped modules against it (test_contract.py)."""

    @property
    def __name__(self) -> str:
        """The module's dotted path."""

    @property
    def __file__(self) -> str | None:
        """The module's source file, whose hash is part of the data's fingerprint."""

    @property
    def FIELDS(self) -> Mapping[str, str]:
        """Name of each column that a row must have -> what it holds, for `--help` and errors."""

    @property
    def METRIC(self) -> str:
        """The default metric, one of METRICS; 1 is a right reply."""

    @property
    def METRICS(self) -> Sequence[str]:
        """Names of the metrics of `score`, each in [0, 1]."""

    @property
    def STOP(self) -> tuple[str, ...]:
        """Strings that end a reply under `data.template=plain`."""

    @property
    def Options(self) -> type[Section]:
        """The model of `data.task_options`; every field has a default."""

    def load(self, rows: Iterable[Mapping[str, Any]], options: Any) -> Iterator[Example]:
        """Make examples of rows of FIELDS, taking one row at a time; `options` is an `Options`.

        Raises:
            ValueError: refuses the row taken last (a UserError is one too). The caller leaves that
                row out and calls `load` again with the rest.
        """

    def score(self, example: Example, reply: str) -> dict[str, float]:
        """Score any text: METRIC always, of the other METRICS those that apply to the row."""

    def why(self, example: Example, reply: str, scores: Mapping[str, float]) -> str:
        """What is wrong with a reply, in a few words; "" where METRIC is 1."""


@runtime_checkable
class BatchScorer(Protocol):
    """A task that scores many replies at once, faster than one at a time."""

    def score_all(
        self, examples: Sequence[Example], replies: Sequence[str]
    ) -> list[dict[str, float]]:
        """`score` of each pair, in their order."""


@runtime_checkable
class Sliced(Protocol):
    """A task whose scores are broken down, e.g. by language."""

    def slices(self, example: Example) -> dict[str, str]:
        """Name of each slice -> the example's value, e.g. {"language": "ca"}."""


@runtime_checkable
class ReferenceReader(Protocol):
    """A task that reads rows of replies that bring their own reference; see `reference_row`."""

    def from_reference(self, row: Mapping[str, Any]) -> dict[str, Any]:
        """A row of FIELDS from {"prompt", "reference", ...}."""


def known_tasks() -> list[str]:
    """Names of the tasks in datasets_src/tasks."""
    package = importlib.import_module(PACKAGE)
    return sorted(m.name for m in pkgutil.iter_modules(package.__path__) if m.name[0] != "_")


def load_task(name: str, *, key: str = "data.task") -> Task:
    """The module of a task; a name with a dot is a module of the user's own, on sys.path.

    `key` is what the user gave the name under.

    Raises:
        UserError: there is no such module, or it lacks a part of the contract.
    """
    dotted = name if "." in name else f"{PACKAGE}.{name}"
    if not _exists(dotted):
        tasks = known_tasks()
        near = difflib.get_close_matches(name, tasks, n=1)
        hint = f"did you mean {near[0]}? " if near else ""
        raise UserError(
            f"{key}: unknown task {name!r}; {hint}known: {', '.join(tasks)};"
            " or the dotted path of a module of yours"
        )
    module = importlib.import_module(dotted)
    if missing := [part for part in CONTRACT if not hasattr(module, part)]:
        raise UserError(
            f"{key}: {name!r} lacks {', '.join(missing)}; a task defines {', '.join(CONTRACT)}"
        )
    return cast(Task, module)


def task_options(task: Task, given: Mapping[str, Any]) -> Section:
    """`data.task_options`, validated by the task's own model.

    Raises:
        UserError: one line for each fault.
    """
    try:
        options = task.Options.model_validate(dict(given))
    except ValidationError as error:
        names = list(task.Options.model_fields)
        faults = explain(
            error,
            prefix="data.task_options.",
            unknown=lambda key: _unknown_option(key, names),
        )
        raise UserError(*faults) from None
    return options


def checked_metric(task: Task, name: str | None, *, key: str, also: tuple[str, ...] = ()) -> str:
    """`name` if it is one of the task's METRICS or in `also`; the task's METRIC if it is None.

    Raises:
        UserError: an unknown metric.
    """
    if name is None:
        return task.METRIC
    known = (*task.METRICS, *also)
    if name not in known:
        near = difflib.get_close_matches(name, known, n=1)
        hint = f"did you mean {near[0]}? " if near else ""
        raise UserError(f"{key}: unknown metric {name!r}; {hint}known: {', '.join(known)}")
    return name


def reference_row(task: Task, row: Mapping[str, Any]) -> dict[str, Any]:
    """A row of FIELDS from {"prompt", "reference", ...}, which is not of the data that we hold.

    By `task.from_reference(row)`. Without it: a field that the row names itself is taken as it
    is, else the first of FIELDS is the prompt, the last is the reference, and others are "".
    """
    if isinstance(task, ReferenceReader):
        return task.from_reference(row)
    fields = list(task.FIELDS)
    named = {fields[0]: row["prompt"], fields[-1]: row["reference"]}
    return {field: row.get(field, named.get(field, "")) for field in fields}


def _exists(dotted: str) -> bool:
    try:
        return importlib.util.find_spec(dotted) is not None
    except (ModuleNotFoundError, ValueError):
        return False


def _unknown_option(key: str, names: list[str]) -> str:
    near = difflib.get_close_matches(key.rsplit(".", 1)[-1], names, n=1)
    hint = f"did you mean {near[0]}? " if near else ""
    return f"{key}: unknown option; {hint}known: {', '.join(names)}"
