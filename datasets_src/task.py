"""Finding a task: a module of plain functions under datasets_src/tasks, or a dotted module path.

task = load_task("text2sql")
options = task_options(task, {"dialect": "sqlite"})

A task defines CONTRACT. Its `load` takes rows one at a time. It refuses a row by raising a
ValueError (a UserError is one) before it takes the next; the row is then left out and `load` begun
again with the rest. `score` gives values in [0, 1] for any text, METRIC always, of the other
METRICS those that apply to the row; `why` says in a few words what is wrong with a reply, "" where
METRIC is 1. What a task may define besides:

check(options)                  raises UserError for what is wrong with the options
score_all(examples, replies)    where scoring many at once is faster
slices(example)                 by what scores are broken down, e.g. {"language": "ca"}
from_reference(row)             a row of FIELDS from {"prompt", "reference", ...}; see reference_row
"""

import difflib
import importlib
import importlib.util
import pkgutil
from collections.abc import Mapping
from types import ModuleType
from typing import Any

from pydantic import ValidationError

from datasets_src.config import Section
from datasets_src.config_errors import explain
from datasets_src.errors import UserError

PACKAGE = "datasets_src.tasks"
# Of checkpoints, whatever the task: -log p per trained token of a row, in nats (eval_loss.py).
EVAL_LOSS = "eval_loss"
# What every task may be given besides its own FIELDS.
COMMON_FIELDS = ("id", "group", "split")
CONTRACT = (
    *("FIELDS", "METRIC", "METRICS", "STOP", "Options"),
    *("load", "to_messages", "to_text", "score", "why"),
)


def known_tasks() -> list[str]:
    """Names of the tasks in datasets_src/tasks."""
    package = importlib.import_module(PACKAGE)
    return sorted(m.name for m in pkgutil.iter_modules(package.__path__) if m.name[0] != "_")


def load_task(name: str, *, key: str = "data.task") -> ModuleType:
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
    return module


def task_options(task: ModuleType, given: Mapping[str, Any]) -> Section:
    """`data.task_options`, validated by the task's own model.

    Raises:
        UserError: one line for each fault.
    """
    try:
        options: Section = task.Options.model_validate(dict(given))
    except ValidationError as error:
        names = list(task.Options.model_fields)
        faults = explain(
            error,
            prefix="data.task_options.",
            unknown=lambda key: _unknown_option(key, names),
        )
        raise UserError(*faults) from None
    return options


def checked_metric(
    task: ModuleType, name: str | None, *, key: str, also: tuple[str, ...] = ()
) -> str:
    """`name` if it is one of the task's METRICS or in `also`; the task's METRIC if it is None.

    Raises:
        UserError: an unknown metric.
    """
    if name is None:
        return str(task.METRIC)
    known = (*task.METRICS, *also)
    if name not in known:
        near = difflib.get_close_matches(name, known, n=1)
        hint = f"did you mean {near[0]}? " if near else ""
        raise UserError(f"{key}: unknown metric {name!r}; {hint}known: {', '.join(known)}")
    return name


def reference_row(task: ModuleType, row: Mapping[str, Any]) -> dict[str, Any]:
    """A row of FIELDS from {"prompt", "reference", ...}, which is not of the data that we hold.

    By `task.from_reference(row)`. Without it: a field that the row names itself is taken as it
    is, else the first of FIELDS is the prompt, the last is the reference, and others are "".
    """
    if hasattr(task, "from_reference"):
        made: dict[str, Any] = task.from_reference(row)
        return made
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
