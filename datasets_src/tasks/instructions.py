"""Instruction following with Alpaca's columns (instruction, optional input, output).

{"id": "1", "instruction": "¿Qué artículo habla de perros?", "input": "Art. 12. …", "output": "…"}

If rows may lack the input, set columns: {input: '*'}. The plain form is Alpaca's with Spanish
headings; replies are scored as text.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from pydantic import Field

from datasets_src.config import Section
from datasets_src.errors import UserError
from datasets_src.text import alpaca
from datasets_src.text.measures import chrf, exact, token_f1
from datasets_src.types import Example, Message

FIELDS = {
    "instruction": "the user's instruction",
    "input": "the text it applies to; may be empty",
    "output": "the reference answer",
}
METRIC = "chrf"
METRICS = ("chrf", "token_f1", "exact")
STOP = alpaca.STOP


class Options(Section):
    """`data.task_options` of this task."""

    field_order: alpaca.Order = Field(
        "authors", description="instruction, then input; shared_first: input first"
    )


def load(rows: Iterable[Mapping[str, Any]], options: Options) -> Iterator[Example]:
    """Examples from mapped rows. UserError: a row without instruction or output."""
    for raw in rows:
        row = {**raw, "input": alpaca.optional(raw["input"], "input")}
        for name in FIELDS:
            value = row[name]
            if not isinstance(value, str) or not (value.strip() or name == "input"):
                raise UserError(
                    f"data.train_file: row {row['id']}: `{name}` is {value!r}, expected text; "
                    "fill it in or remove the row"
                )
        yield Example(
            id=row["id"],
            group=row["group"],
            inputs={
                "instruction": row["instruction"],
                "input": row["input"],
                "field_order": options.field_order,
            },
            target=row["output"].strip(),
            split=row.get("split"),
        )


def to_messages(example: Example) -> list[Message]:
    """One user turn: instruction and input, separated by a line break."""
    given = example.inputs
    content = alpaca.join(given["instruction"], given["input"], order=given["field_order"])
    return [{"role": "user", "content": content}]


def to_text(example: Example) -> tuple[str, str]:
    """Alpaca's prompt in Spanish, and the output."""
    given = example.inputs
    prompt = alpaca.plain(given["instruction"], given["input"], order=given["field_order"])
    return prompt, example.target


def score(example: Example, reply: str) -> dict[str, float]:
    """METRICS of one reply."""
    return {
        "chrf": chrf(reply, example.target),
        "token_f1": token_f1(reply, example.target),
        "exact": exact(reply, example.target),
    }


def why(example: Example, reply: str, scores: Mapping[str, float]) -> str:
    """The reply's chrF; "" if it equals the output."""
    if scores[METRIC] == 1:
        return ""
    return f"chrF {scores[METRIC]:.2f}" if reply.strip() else "empty"
