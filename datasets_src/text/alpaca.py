"""Instruction, input and output: the form of Alpaca's rows, in which many Spanish sets come.

join("Resume en una frase.", "Los refugios …") == "Resume en una frase.\nLos refugios …"
plain("Resume en una frase.", "Los refugios …")
    ### Instrucción:
    Resume en una frase.

    ### Entrada:
    Los refugios …

    ### Respuesta:

The order "authors" is Alpaca's; "shared_first" puts the input first, for sets that ask several
things of one input, so that it is computed once.
"""

from collections.abc import Mapping
from typing import Any, Literal

Order = Literal["authors", "shared_first"]
STOP = ("\n###",)


def optional(value: Any, name: str) -> Any:
    """A field that rows may lack, "" where they do.

    A file without the column maps the whole row to the field: columns: {input: '*'}.
    """
    found = value.get(name) if isinstance(value, Mapping) else value
    return "" if found is None else found


def join(instruction: str, text: str, *, order: Order = "authors") -> str:
    """One user turn, as LLaMA-Factory joins the two: by a line break, where there is an input."""
    parts = [instruction, text] if order == "authors" else [text, instruction]
    return "\n".join(part for part in parts if part.strip())


def plain(instruction: str, text: str, *, order: Order = "authors") -> str:
    """Alpaca's prompt with Spanish headings, up to where the reply starts."""
    parts = [("### Instrucción:", instruction), ("### Entrada:", text)]
    if order == "shared_first":
        parts.reverse()
    shown = "".join(f"{heading}\n{part}\n\n" for heading, part in parts if part.strip())
    return f"{shown}### Respuesta:\n"
