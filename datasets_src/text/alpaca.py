"""Prompts for rows in Alpaca's format (instruction, input, output), common in Spanish data sets.

join("Resume en una frase.", "Los refugios …") == "Resume en una frase.\nLos refugios …"
plain("Resume en una frase.", "Los refugios …")
    ### Instrucción:
    Resume en una frase.

    ### Entrada:
    Los refugios …

    ### Respuesta:

The order "authors" is Alpaca's. "shared_first" puts the input first: in data sets with several
instructions per input, the input is then a shared prefix that is computed once.
"""

from collections.abc import Mapping
from typing import Any, Literal

Order = Literal["authors", "shared_first"]
STOP = ("\n###",)


def optional(value: Any, name: str) -> Any:
    """The value of an optional field, "" if the row lacks it.

    For a file without the column, map the whole row to the field: columns: {input: '*'}.
    """
    found = value.get(name) if isinstance(value, Mapping) else value
    return "" if found is None else found


def join(instruction: str, text: str, *, order: Order = "authors") -> str:
    """One user turn; as in LLaMA-Factory, a line break joins instruction and input, if any."""
    parts = [instruction, text] if order == "authors" else [text, instruction]
    return "\n".join(part for part in parts if part.strip())


def plain(instruction: str, text: str, *, order: Order = "authors") -> str:
    """Alpaca's prompt with Spanish headings, up to the start of the reply."""
    parts = [("### Instrucción:", instruction), ("### Entrada:", text)]
    if order == "shared_first":
        parts.reverse()
    shown = "".join(f"{heading}\n{part}\n\n" for heading, part in parts if part.strip())
    return f"{shown}### Respuesta:\n"
