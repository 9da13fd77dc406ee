"""One line for each pydantic validation error: key path, value, allowed values.

explain(error, prefix="train.", unknown=lambda key: f"{key}: unknown key")
"""

from collections.abc import Callable

from pydantic import ValidationError
from pydantic_core import ErrorDetails


def explain(
    error: ValidationError, *, prefix: str = "", unknown: Callable[[str], str], tagged: str = ""
) -> list[str]:
    """The faults of `error`, one line each.

    Args:
        error: what pydantic raised.
        prefix: put before each key.
        unknown: returns the message for an unknown key.
        tagged: key of a discriminated union; pydantic inserts the tag into the paths of its faults,
            where the config file has no such key.
    """
    return [_line(fault, prefix, unknown, tagged) for fault in error.errors(include_url=False)]


def _line(fault: ErrorDetails, prefix: str, unknown: Callable[[str], str], tagged: str) -> str:
    path = [str(part) for part in fault["loc"]]
    if tagged and path[:1] == [tagged]:
        del path[1:2]
    key = (prefix + ".".join(path)).rstrip(".")
    if fault["type"] == "union_tag_invalid":
        context = fault["ctx"]
        name = str(context["discriminator"]).strip("'")
        return f"{key}.{name}: {context['tag']!r} should be one of {context['expected_tags']}"
    if fault["type"] == "extra_forbidden":
        return unknown(key)
    if fault["type"] == "missing":
        return f"{key}: missing; add it"
    message = fault["msg"].removeprefix("Value error, ").removeprefix("Input ")
    if fault["type"] == "value_error":
        return f"{key}: {message}" if key else message  # a model validator names its keys
    return f"{key}: {fault['input']!r} {message}"
