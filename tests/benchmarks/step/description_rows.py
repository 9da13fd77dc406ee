"""A minimal task for benchmarks: rewrite a species description as the prompt requests.

{"id": "17-a2", "prompt": "Añade la clase", "description": "Es un urodelo de …", "science": "…",
 "context": "[{\"class\": \"Amphibia\"}]", "target": "Es una salamandra …"}
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from datasets_src.config import Section
from datasets_src.types import Example, Message

FIELDS = {
    "prompt": "what the user asks",
    "description": "the text to adapt",
    "science": "the scientific text",
    "context": "rows of the database as JSON",
    "target": "the adapted text",
}
METRIC = "exact_match"
METRICS = ("exact_match",)
STOP: tuple[str, ...] = ()


class Options(Section):
    """This task has no options."""


def load(rows: Iterable[Mapping[str, Any]], options: Options) -> Iterator[Example]:
    """One example per row; a group is a species."""
    for row in rows:
        inputs = {name: str(row[name]) for name in FIELDS if name != "target"}
        yield Example(row["id"], row["group"], inputs, str(row["target"]), row["split"])


def to_text(example: Example) -> tuple[str, str]:
    """The prompt with its texts under headings, and the target."""
    given = example.inputs
    prompt = (
        f"### Prompt:::\n\n{given['prompt']}\n\n### Descripcion a adaptar:::\n\n"
        f"{given['description']}\n\n### Descripción científica:::\n\n{given['science']}\n\n"
        f"### Información adicional:::\n\n{given['context']}\n\n### Nueva descripción:::\n\n"
    )
    return prompt, f"{example.target}\n"


def to_messages(example: Example) -> list[Message]:
    """The same text as one user turn."""
    return [Message(role="user", content=to_text(example)[0])]


def score(example: Example, reply: str) -> dict[str, float]:
    """Exact match, ignoring surrounding whitespace."""
    return {"exact_match": float(reply.strip() == example.target.strip())}


def why(example: Example, reply: str, scores: Mapping[str, float]) -> str:
    """The reason for a score of 0."""
    return "" if scores[METRIC] == 1 else "another text"
