"""Finding a task: a module of plain functions under datasets_src/tasks, or a dotted module path.

task = load_task("text2sql")
options = task_options(task, {"dialect": "sqlite"})

A task's `load` takes rows one at a time. It refuses a row by raising a ValueError (a UserError is
one) before it takes the next; the row is then left out and `load` begun again with the rest.
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
from datasets_src.errors import UserError
from datasets_src.faults import explain

PACKAGE = "datasets_src.tasks"
# What every task may be given besides its own FIELDS.
COMMON_FIELDS = ("id", "group", "split")
CONTRACT = (
    *("FIELDS", "METRIC", "METRICS", "STOP", "Options"),
    *("load", "to_messages", "to_text", "score"),
)


def known_tasks() -> list[str]:
    """Names of the tasks in datasets_src/tasks."""
    package = importlib.import_module(PACKAGE)
    return sorted(m.name for m in pkgutil.iter_modules(package.__path__) if m.name[0] != "_")


def load_task(name: str) -> ModuleType:
    """The module of a task; a name with a dot is a module of the user's own, on sys.path.

    Raises:
        UserError: there is no such module, or it lacks a part of the contract.
    """
    dotted = name if "." in name else f"{PACKAGE}.{name}"
    if not _exists(dotted):
        tasks = known_tasks()
        near = difflib.get_close_matches(name, tasks, n=1)
        hint = f"did you mean {near[0]}? " if near else ""
        raise UserError(
            f"data.task: {name!r} is no task; {hint}known: {', '.join(tasks)};"
            " or the dotted path of a module of yours"
        )
    module = importlib.import_module(dotted)
    if missing := [part for part in CONTRACT if not hasattr(module, part)]:
        raise UserError(
            f"data.task: {name!r} lacks {', '.join(missing)}; a task defines {', '.join(CONTRACT)}"
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


def _exists(dotted: str) -> bool:
    try:
        return importlib.util.find_spec(dotted) is not None
    except (ModuleNotFoundError, ValueError):
        return False


def _unknown_option(key: str, names: list[str]) -> str:
    near = difflib.get_close_matches(key.rsplit(".", 1)[-1], names, n=1)
    hint = f"did you mean {near[0]}? " if near else ""
    return f"{key}: unknown option; {hint}known: {', '.join(names)}"
