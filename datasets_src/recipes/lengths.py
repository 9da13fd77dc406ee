"""Row lengths in tokens, and the length limits of a recipe.

measure = open_measure(LengthConfig(tokenizer="models/salamandra-2b"))
measure(["La nutria …", '[{"rutas": 12}]'])     -> [31, 9]

Without a tokenizer, tokens are estimated from characters: 3.9 per token of text and 1.8 of JSON,
measured with Salamandra's tokenizer on BioSenda's rows.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import Field
from tokenizers import Tokenizer

from datasets_src.chat.word_encoder import open_encoder
from datasets_src.config import Section
from datasets_src.errors import UserError

NUM_BINS = 12
Measure = Callable[[Sequence[str]], list[int]]


class LengthConfig(Section):
    """`lengths:` of a recipe: how tokens are counted, and the limits of a row."""

    tokenizer: str | None = Field(None, description="directory with a tokenizer.json, or that file")
    text_chars_per_token: float = Field(
        3.9, gt=0, description="characters per token of text, without a tokenizer"
    )
    json_chars_per_token: float = Field(
        1.8, gt=0, description="characters per token of JSON, without a tokenizer"
    )
    min_output_tokens: int = Field(0, ge=0, description="drop rows with a shorter output")
    max_output_tokens: int | None = Field(None, ge=1, description="drop rows with a longer output")
    max_input_tokens: int | None = Field(
        None, ge=1, description="drop rows with more tokens in all inputs"
    )
    max_field_tokens: dict[str, int] = Field(
        default_factory=dict, description="drop rows with a longer field, e.g. {context: 2048}"
    )
    keep_short_where: dict[str, tuple[str, ...]] = Field(
        default_factory=dict, description="field -> values for which a short output is kept"
    )
    published: dict[int, float] = Field(
        default_factory=dict, description="tokens -> published share of longer inputs, to compare"
    )
    published_within: dict[str, int] = Field(
        default_factory=dict, description="max_field_tokens of the rows in that comparison"
    )


def open_measure(config: LengthConfig) -> Measure:
    """Return a function from texts to token counts. UserError: no such tokenizer."""
    if config.tokenizer is None:
        return lambda texts: [_estimate(text, config) for text in texts]
    path = Path(config.tokenizer).expanduser()
    path = path / "tokenizer.json" if path.is_dir() else path
    try:
        encode = open_encoder(Tokenizer.from_file(str(path)))
    except Exception as error:  # tokenizers raises nothing more specific
        raise UserError(
            f"lengths.tokenizer: {path} cannot be read ({error}); give a directory that holds a"
            " tokenizer.json"
        ) from None
    known: dict[str, int] = {}

    def measure(texts: Sequence[str]) -> list[int]:
        new = list(dict.fromkeys(text for text in texts if text not in known))
        known.update((text, len(ids)) for text, ids in zip(new, encode(new), strict=True))
        return [known[text] for text in texts]

    return measure


def _estimate(text: str, config: LengthConfig) -> int:
    is_json = text.lstrip().startswith(("[", "{"))
    rate = config.json_chars_per_token if is_json else config.text_chars_per_token
    return -int(-len(text) // rate)


def too_long(lengths: Mapping[str, int], output: str, config: LengthConfig) -> str:
    """The reason to drop a row with these field lengths; "" to keep it."""
    for name, limit in config.max_field_tokens.items():
        if lengths.get(name, 0) > limit:
            return f"{name} longer than {limit:,} tokens"
    num_input = sum(n for name, n in lengths.items() if name != output)
    if config.max_input_tokens is not None and num_input > config.max_input_tokens:
        return f"inputs longer than {config.max_input_tokens:,} tokens"
    if config.max_output_tokens is not None and lengths[output] > config.max_output_tokens:
        return f"{output} longer than {config.max_output_tokens:,} tokens"
    return ""


def too_short(
    fields: Mapping[str, Any], lengths: Mapping[str, int], output: str, config: LengthConfig
) -> str:
    """The reason to drop a row for a short output; "" to keep it."""
    kept = any(fields.get(name) in texts for name, texts in config.keep_short_where.items())
    if kept or lengths[output] >= config.min_output_tokens:
        return ""
    return f"{output} shorter than {config.min_output_tokens:,} tokens"


def histogram(lengths: Sequence[int]) -> dict[str, list[int]]:
    """{"edges": [NUM_BINS + 1], "counts": [NUM_BINS]}, edges in tens up to the longest."""
    longest = max(lengths, default=0)
    width = max(1, -(-(longest + 1) // NUM_BINS))
    width = -(-width // 10) * 10 if width > 10 else width
    edges = np.arange(NUM_BINS + 1) * width
    return {"edges": edges.tolist(), "counts": np.histogram(lengths, edges)[0].tolist()}


def shares_above(lengths: Sequence[int], thresholds: Sequence[int]) -> dict[int, float]:
    """Share of the lengths above each threshold."""
    values = np.asarray(lengths)
    return {t: float((values > t).mean()) if len(values) else 0.0 for t in thresholds}
