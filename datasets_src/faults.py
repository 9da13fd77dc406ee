"""One line for each fault that pydantic finds: key path, value, what is allowed.

explain(error, prefix="train.", unknown=lambda key: f"{key}: unknown key")
"""

from collections.abc import Callable

from pydantic import ValidationError
from pydantic_core import ErrorDetails


def explain(
    error: ValidationError, *, prefix: str = "", unknown: Callable[[str], str]
) -> list[str]:
    """The faults of `error`, each key with `prefix`; `unknown` words a key that is not known."""
    return [_line(fault, prefix, unknown) for fault in error.errors(include_url=False)]


def _line(fault: ErrorDetails, prefix: str, unknown: Callable[[str], str]) -> str:
    key = (prefix + ".".join(str(part) for part in fault["loc"])).rstrip(".")
    if fault["type"] == "extra_forbidden":
        return unknown(key)
    if fault["type"] == "missing":
        return f"{key}: missing; add it"
    message = fault["msg"].removeprefix("Value error, ").removeprefix("Input ")
    if fault["type"] == "value_error":
        return f"{key}: {message}"
    return f"{key}: {fault['input']!r} {message}"
