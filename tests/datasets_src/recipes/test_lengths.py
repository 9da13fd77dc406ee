"""Tokens by a tokenizer or an estimate, limits of a row, the histogram."""

from pathlib import Path

import pytest
from tokenizers import Tokenizer, models, pre_tokenizers

from datasets_src.errors import UserError
from datasets_src.recipes.lengths import (
    LengthConfig,
    histogram,
    open_measure,
    shares_above,
    too_long,
    too_short,
)


def test_the_estimate_tells_json_from_text() -> None:
    measure = open_measure(LengthConfig(text_chars_per_token=4, json_chars_per_token=2))
    assert measure(["", "a", "a" * 8, "[" + "1" * 8, '  {"a": 1}']) == [0, 1, 2, 5, 5]


def test_a_tokenizer_counts(tmp_path: Path) -> None:
    tokenizer = Tokenizer(models.WordLevel({"la": 0, "nutria": 1, "[UNK]": 2}, "[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    measure = open_measure(LengthConfig(tokenizer=str(tmp_path)))
    assert measure(["la nutria nada", "", "la", "la nutria nada"]) == [3, 0, 1, 3]
    with pytest.raises(UserError, match=r"lengths.tokenizer: .* give a directory"):
        open_measure(LengthConfig(tokenizer=str(tmp_path / "none")))


def test_why_a_row_is_left_out() -> None:
    config = LengthConfig(
        max_field_tokens={"context": 10},
        max_input_tokens=20,
        min_output_tokens=5,
        max_output_tokens=9,
        keep_short_where={"wish": ("una línea",)},
    )
    lengths = {"wish": 3, "context": 10, "target": 9}
    assert too_long(lengths, "target", config) == ""
    assert too_long(lengths | {"context": 11}, "target", config) == "context longer than 10 tokens"
    assert too_long(lengths | {"wish": 11}, "target", config) == "inputs longer than 20 tokens"
    assert too_long(lengths | {"target": 10}, "target", config) == "target longer than 9 tokens"
    short = lengths | {"target": 4}
    assert too_short({"wish": "x"}, short, "target", config) == "target shorter than 5 tokens"
    assert too_short({"wish": "una línea"}, short, "target", config) == ""
    assert too_short({"wish": "x"}, lengths, "target", config) == ""


def test_histogram_and_shares() -> None:
    found = histogram([0, 5, 11, 1199])
    assert found["edges"][0] == 0
    assert found["edges"][-1] >= 1200
    assert sum(found["counts"]) == 4
    assert found["counts"][0] == 3
    assert shares_above([1, 2, 3, 4], [2, 4]) == {2: 0.5, 4: 0.0}
    assert histogram([]) == {"edges": list(range(13)), "counts": [0] * 12}
