"""One line for each fault that pydantic finds: key path, value, what is allowed.

explain(error, prefix="train.", unknown=lambda key: f"{key}: unknown key")
"""

from collections.abc import Callable

from pydantic import ValidationError
from pydantic_core import ErrorDetails


def explain(
    error: ValidationError, *, prefix: str = "", unknown: Callable[[str], str], tagged: str = ""
) -> list[str]:
    """The faults of `error`, each key with `prefix`.

    `unknown` words a key that is not known. `tagged` is a section that is one of several kinds;
    pydantic puts the kind's name into the path of its faults, where no file has it.
    """
    return [_line(fault, prefix, unknown, tagged) for fault in error.errors(include_url=False)]


def _line(fault: ErrorDetails, prefix: str, unknown: Callable[[str], str], tagged: str) -> str:
    path = [str(part) for part in fault["loc"]]
    if tagged and path[:1] == [tagged]:
        del path[1:2]
    key = (prefix + ".".join(path)).rstrip(".")
    if fault["type"] == "union_tag_invalid":
        told = fault["ctx"]
        name = str(told["discriminator"]).strip("'")
        return f"{key}.{name}: {told['tag']!r} should be one of {told['expected_tags']}"
    if fault["type"] == "extra_forbidden":
        return unknown(key)
    if fault["type"] == "missing":
        return f"{key}: missing; add it"
    message = fault["msg"].removeprefix("Value error, ").removeprefix("Input ")
    if fault["type"] == "value_error":
        return f"{key}: {message}" if key else message  # of the whole, which names its keys
    return f"{key}: {fault['input']!r} {message}"
