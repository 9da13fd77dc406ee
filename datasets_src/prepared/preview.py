"""Preview one row as the model sees it, with the target tokens marked.

print(preview(open_split(directory, "train"), tokenizer))
    example 7 (group 19): 812 tokens, 31 target tokens (marked)
    <|im_start|>user⏎CREATE TABLE … ¿Cuántas rutas hay?<|im_end|>⏎<|im_start|>assistant
    «SELECT COUNT(*) FROM rutas<|im_end|>»
"""

import sys
from typing import Any

from datasets_src.prepared.store import Split

HEAD, TAIL = 400, 400
GREEN, RESET = "\x1b[32m", "\x1b[0m"


def preview(split: Split, tokenizer: Any, *, index: int = 0, colour: bool | None = None) -> str:
    """Row `index`, decoded; the middle of a long prompt is left out.

    `tokenizer` has decode(ids, skip_special_tokens=False). `colour` marks target tokens in green
    instead of with « »; by default, if stdout is a terminal.
    """
    row = split.tokens(index)
    colour = sys.stdout.isatty() if colour is None else colour
    opening, closing = (GREEN, RESET) if colour else ("«", "»")
    prompt = tokenizer.decode(list(row.input_ids[: row.prompt_len]), skip_special_tokens=False)
    trained = tokenizer.decode(list(row.input_ids[row.prompt_len :]), skip_special_tokens=False)
    num_trained = len(row.input_ids) - row.prompt_len
    head = (
        f"example {row.id} (group {row.group}): {len(row.input_ids):,} tokens, "
        f"{num_trained:,} target tokens (marked)"
    )
    return f"{head}\n{_elide(prompt)}{opening}{trained}{closing}"


def _elide(text: str) -> str:
    if len(text) <= HEAD + TAIL:
        return text
    left_out = len(text) - HEAD - TAIL
    return f"{text[:HEAD]}\n[… {left_out:,} characters …]\n{text[-TAIL:]}"
