"""The word encoder gives the ids of the whole tokenizer, or is not used."""

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer

from datasets_src.chat.word_encoder import (
    LINE,
    WORD,
    WordEncoder,
    has_independent_words,
    open_encoder,
)

PIECES = [
    " ",
    "  ",
    "\n",
    "▁",
    "a",
    "rutas",
    "ñ",
    "🦎",
    "SELECT",
    "(",
    "<|im_start|>",
    "<|im_end|>",
]
TEXT = st.lists(st.one_of(st.sampled_from(PIECES), st.text(max_size=3)), max_size=12).map("".join)


def load(folder: Path, scheme: str = "never") -> Tokenizer:
    parts = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
    parts["pre_tokenizer"]["prepend_scheme"] = scheme
    return Tokenizer.from_str(json.dumps(parts))


@pytest.mark.parametrize("scheme", ["never", "first", "always"])
def test_ids_by_words_are_those_of_the_tokenizer(chat_model: Path, scheme: str) -> None:
    tokenizer = load(chat_model, scheme)
    encode = open_encoder(tokenizer)
    assert isinstance(getattr(encode, "__self__", None), WordEncoder)

    @settings(max_examples=150, deadline=None)
    @given(texts=st.lists(TEXT, max_size=4))
    def same(texts: list[str]) -> None:
        expected = tokenizer.encode_batch(texts, add_special_tokens=False)
        assert encode(texts) == [encoding.ids for encoding in expected]

    same()


def test_a_merge_over_a_line_break_forbids_lines(chat_model: Path) -> None:
    parts = json.loads(load(chat_model).to_str())
    assert WordEncoder(parts)._unit is LINE
    vocab = {**parts["model"]["vocab"], "\n": 400, "a\n": 401}
    merges = [*parts["model"]["merges"], ["a", "\n"]]
    model = {**parts["model"], "vocab": vocab, "merges": merges}
    encoder = WordEncoder({**parts, "model": model})
    assert encoder._unit is WORD
    whole = Tokenizer.from_str(json.dumps({**parts, "model": model}))
    text = "hola\n\na\nb a\n"
    assert encoder.encode([text]) == [whole.encode(text, add_special_tokens=False).ids]
    assert 401 in encoder.encode([text])[0]


def test_the_cache_is_bounded(chat_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("datasets_src.chat.word_encoder.MAX_CHARS", 50)
    tokenizer = load(chat_model)
    encoder = WordEncoder(json.loads(tokenizer.to_str()))
    for number in range(30):
        text = f"¿Cuántas rutas {number}?<|im_end|>"
        expected = tokenizer.encode(text, add_special_tokens=False).ids
        assert encoder.encode([text]) == [expected]
    assert encoder._num_chars < 100 and len(encoder._units) < 20


def test_a_merge_over_a_space_forbids_words(chat_model: Path) -> None:
    parts = json.loads(load(chat_model).to_str())
    assert has_independent_words(parts)
    crossing = {**parts["model"], "merges": [*parts["model"]["merges"], ["a", "▁"]]}
    assert not has_independent_words({**parts, "model": crossing})
    stripping = [{**parts["added_tokens"][0], "lstrip": True}, *parts["added_tokens"][1:]]
    assert not has_independent_words({**parts, "added_tokens": stripping})
    assert not has_independent_words({**parts, "normalizer": {"type": "NFC"}})
    assert not has_independent_words({**parts, "pre_tokenizer": None})


def test_byte_level_tokenizers_tokenise_themselves(byte_model: Path) -> None:
    tokenizer = Tokenizer.from_file(str(byte_model / "tokenizer.json"))
    encode = open_encoder(tokenizer)
    assert not hasattr(encode, "__self__")
    text = "<s>¿Cuántas rutas\n\nhay?"
    assert encode([text]) == [tokenizer.encode(text, add_special_tokens=False).ids]
