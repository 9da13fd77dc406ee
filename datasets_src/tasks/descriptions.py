"""Rewriting a species description to a user's request, given database rows about the species.

{"id": "f0007", "group": "nutria:Ribalta", "wish": "Añade en cuántas rutas se ha visto",
 "description": "La nutria de Ribalta mide 24 cm.", "science": "Mamífero. Longitud: 24 cm.",
 "context": "[{\"rutas\": 12}]", "target": "La nutria … Se ha visto en 12 rutas.", "split": "train"}

The plain form is BioSenda's (github.com/alberalm/Hackathon-PNAV), byte for byte. Its nine rows for
one species and wish share science and context; `field_order: shared_first` puts these first and the
wish last, so that the shared prefix is computed once. `context` is JSON as the model sees it; "" or
[{"": null}] if the database has nothing.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Literal

from pydantic import Field

from datasets_src.config import Section
from datasets_src.errors import UserError
from datasets_src.text.measures import MAX_CHARS, chrf, exact, fold, length_ratio, levenshtein
from datasets_src.text.spanish_numbers import numbers_in, numbers_in_json
from datasets_src.types import Example, Message

FIELDS = {
    "wish": "the user's request",
    "description": "the text to rewrite",
    "science": "the scientific description",
    "context": "database rows as JSON",
    "target": "the rewritten text",
}
METRIC = "chrf"
METRICS = (
    *("chrf", "exact", "levenshtein", "length_ratio"),
    *("unchanged_copy", "reference_copy", "numbers_kept", "no_invented_numbers"),
)
# A target may have several lines, so the reply ends at the next heading, not at a line break.
STOP = ("\n###",)
HEADINGS = {
    "wish": "### Prompt:::",
    "description": "### Descripcion a adaptar:::",
    "science": "### Descripción científica:::",
    "context": "### Información adicional:::",
}
CUE = "### Nueva descripción:::"
ORDERS = {
    "authors": ("wish", "description", "science", "context"),
    "shared_first": ("science", "context", "description", "wish"),
}
_SHOWN = 3


class Options(Section):
    """`data.task_options` of this task."""

    field_order: Literal["authors", "shared_first"] = Field(
        "authors",
        description="order of the prompt's fields: as published, or shared first (computed once)",
    )


def load(rows: Iterable[Mapping[str, Any]], options: Options) -> Iterator[Example]:
    """Examples from mapped rows. UserError: wish, description or target is not a non-empty text."""
    for row in rows:
        yield Example(
            id=row["id"],
            group=row["group"],
            inputs={
                **{name: _text(row, name) for name in HEADINGS},
                "field_order": options.field_order,
            },
            target=_text(row, "target"),
            split=row.get("split"),
        )


def _text(row: Mapping[str, Any], name: str) -> str:
    value = row[name]
    if name == "context" and not isinstance(value, str):
        # The indentation of the authors' files.
        return json.dumps(value, indent=2)
    may_be_empty = name in ("science", "context")
    if not isinstance(value, str) or not (value.strip() or may_be_empty):
        raise UserError(
            f"data.train_file: row {row['id']}: `{name}` is {value!r}, expected text; "
            "fill it in or remove the row"
        )
    return value


def to_messages(example: Example) -> list[Message]:
    """One user turn with the fields under their headings."""
    return [{"role": "user", "content": "\n\n".join(_fields(example))}]


def to_text(example: Example) -> tuple[str, str]:
    """BioSenda's prompt, and the target with the line break that ends it there."""
    return "\n\n".join([*_fields(example), CUE, ""]), f"{example.target}\n"


def _fields(example: Example) -> list[str]:
    order = ORDERS[example.inputs["field_order"]]
    return [part for name in order for part in (HEADINGS[name], example.inputs[name])]


def score(example: Example, reply: str) -> dict[str, float]:
    """METRICS of one reply; `numbers_kept` only if the reference has a number.

    `reference_copy` does not depend on the reply: `unchanged_copy` should equal it.
    """
    target, in_reply, in_target = example.target, numbers_of(reply), numbers_of(example.target)
    invented = in_reply - in_target - _given_numbers(example)
    scores = {
        "chrf": chrf(reply, target),
        "exact": exact(reply, target),
        "levenshtein": levenshtein(reply, target),
        "length_ratio": length_ratio(reply, target),
        "unchanged_copy": exact(reply, example.inputs["description"]),
        "reference_copy": exact(target, example.inputs["description"]),
        "no_invented_numbers": 1 - len(invented) / max(1, len(in_reply)),
    }
    if in_target:
        scores["numbers_kept"] = len(in_target & in_reply) / len(in_target)
    return scores


def numbers_of(text: str) -> set[str]:
    """The distinct numbers in a text."""
    return set(numbers_in(text[:MAX_CHARS]))


def _given_numbers(example: Example) -> set[str]:
    """Numbers in the inputs; JSON is read as JSON and as text, where 12.345 differs."""
    texts = (example.inputs[name] for name in HEADINGS)
    return {n for text in texts for n in numbers_in(text)} | {
        *numbers_in_json(example.inputs["context"])
    }


def why(example: Example, reply: str, scores: Mapping[str, float]) -> str:
    """What is wrong with the reply; "" if it equals the reference."""
    if scores[METRIC] == 1:
        return ""
    if not reply.strip():
        return "empty"
    if scores["unchanged_copy"] and not scores["reference_copy"]:
        return "text left unchanged"
    in_reply, in_target = numbers_of(reply), numbers_of(example.target)
    faults = []
    if missing := in_target - in_reply:
        faults.append(f"{len(missing)} of {len(in_target)} numbers missing ({_first_few(missing)})")
    if invented := in_reply - in_target - _given_numbers(example):
        faults.append(f"numbers invented: {_first_few(invented)}")
    return "; ".join(faults) or f"chrF {scores[METRIC]:.2f}"


def _first_few(numbers: set[str]) -> str:
    shown = sorted(numbers, key=lambda n: (len(n), n))
    return ", ".join(shown[:_SHOWN]) + (", …" if len(shown) > _SHOWN else "")


def slices(example: Example) -> dict[str, str]:
    """By how the reference changes the text, and whether the context has a value."""
    return {"change": change_of(example), "context": "rows" if _has_rows(example) else "none"}


def change_of(example: Example) -> str:
    """ "copy", "prefix" or "suffix" (text added before or after), "rewrite"."""
    text, target = fold(example.inputs["description"]), fold(example.target)
    if text == target:
        return "copy"
    if target.endswith(text):
        return "prefix"
    return "suffix" if target.startswith(text) else "rewrite"


def _has_rows(example: Example) -> bool:
    """Whether the context has a non-null value."""
    try:
        rows = json.loads(example.inputs["context"])
    except ValueError:
        return bool(example.inputs["context"].strip())
    values = [
        value
        for row in (rows if isinstance(rows, list) else [rows])
        for value in (row.values() if isinstance(row, dict) else [row])
    ]
    return any(value is not None for value in values)
