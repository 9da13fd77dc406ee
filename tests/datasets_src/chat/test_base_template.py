"""A base with a family's chat format: stop and padding tokens, checked on tokenizers built for each
family, and on published ones if GALLIPATO_TOKENIZERS names a folder of them."""

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from datasets_src.chat.base_template import describe_tokens, with_chat_template, with_own_template
from datasets_src.chat.families import FAMILIES
from datasets_src.chat.tokenise import (
    auto_tokenizer,
    chat_tokens,
    open_tokenizer,
    read_format,
)
from datasets_src.errors import UserError
from datasets_src.types import Message
from tests.family_tokenizers import build_tokenizer
from tests.trainers.export.tiny_export import build_adapter, build_base, edit_json
from trainers.config.schema import Config
from trainers.generation.replies import end_of_turn_ids
from trainers.methods.merge_adapter import merge_adapter
from trainers.models.load import load_base, load_tokenizer
from trainers.models.resolve import resolve_base

TURNS = [
    Message(role="system", content="Sé breve."),
    Message(role="user", content="¿Cuántas rutas hay?"),
]
PADS = {
    "salamandra": "<pad>",
    "qwen": "<|fim_pad|>",
    "llama3": "<|finetune_right_pad_id|>",
    "llama2": "<unk>",
    "mistral": "<unk>",
    "falcon": ">>SUFFIX<<",
}


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def check_family(family: str, folder: Path) -> None:
    """A row trains its reply and the stop and nothing else; every special token is one id."""
    found = with_chat_template(folder, family)
    tokenizer, fmt = load_tokenizer(found), read_format(found, "chat")
    [row] = chat_tokens(fmt, open_tokenizer(fmt), [TURNS], ["Doce"])
    assert row.fault == ""
    trained = row.input_ids[row.prompt_len :]
    assert str(tokenizer.decode(trained[:-1])).strip() == "Doce"
    assert trained[-1] == fmt.stop_id == tokenizer.eos_token_id
    assert tokenizer.eos_token == FAMILIES[family].stops[0]
    written = tokenizer.convert_ids_to_tokens(row.input_ids)
    assert {*FAMILIES[family].tokens} <= {*written}
    assert tokenizer.pad_token not in (*FAMILIES[family].stops, *written)
    turns: Any = TURNS
    text = tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
    assert TURNS[0]["content"] in str(text) and not fmt.merges_system


@pytest.mark.parametrize("family", FAMILIES)
def test_each_family_s_format_on_a_built_tokenizer(family: str, tmp_path: Path) -> None:
    folder = build_tokenizer(family, tmp_path / "base")
    with pytest.raises(UserError, match=f"no chat template; set model.chat_template to .*{family}"):
        read_format(folder, "chat")
    check_family(family, folder)
    found = with_chat_template(folder, family)
    assert load_tokenizer(found).pad_token == PADS[family]
    line = describe_tokens(found, "chat", family=family)
    assert f"chat template {family}; replies end with {FAMILIES[family].stops[0]} (" in line
    assert f"padding {PADS[family]} (" in line
    kept = FAMILIES[family].system == "turn"
    assert line.endswith(f"system turn {'kept' if kept else 'merged'}")


@pytest.mark.parametrize("family", FAMILIES)
def test_the_published_tokenizer(family: str) -> None:
    folder = Path(os.environ.get("GALLIPATO_TOKENIZERS", "")) / family
    if not (folder / "tokenizer_config.json").is_file():
        pytest.skip(f"GALLIPATO_TOKENIZERS has no {family}/tokenizer_config.json")
    check_family(family, folder)


def test_a_tokenizer_without_the_format_s_special_tokens_is_rejected(tmp_path: Path) -> None:
    folder = build_tokenizer("mistral", tmp_path / "base")
    with pytest.raises(UserError) as caught:
        with_chat_template(folder, "qwen")
    assert str(caught.value) == (
        "model.chat_template: qwen uses <|im_start|>, <|im_end|>, which the tokenizer of "
        f"{folder} does not have as special tokens: each would be split into several tokens and no "
        "reply would end; set chat_template to llama2 or mistral, or set data.template=plain"
    )
    # A token that is in the vocabulary as a word like any other is no end of a turn either.
    folder = build_tokenizer("qwen", tmp_path / "words")
    words = json.loads((folder / "tokenizer.json").read_text("utf-8"))
    for token in words["added_tokens"]:
        token["special"] = token["content"] == "<|endoftext|>"
    (folder / "tokenizer.json").write_text(json.dumps(words), encoding="utf-8")
    with pytest.raises(UserError, match=r"qwen uses <\|im_start\|>, <\|im_end\|>.*to falcon"):
        with_chat_template(folder, "qwen")


def test_padding_that_is_the_end_of_a_text_is_replaced(tmp_path: Path) -> None:
    folder = build_tokenizer("llama3", tmp_path / "base")
    edit_json(folder / "tokenizer_config.json", pad_token="<|end_of_text|>")
    assert auto_tokenizer(folder).pad_token == "<|end_of_text|>"
    assert load_tokenizer(folder).pad_token == "<|finetune_right_pad_id|>"
    none = shutil.copytree(folder, tmp_path / "none")
    words = (none / "tokenizer.json").read_text("utf-8")
    (none / "tokenizer.json").write_text(words.replace("finetune_right_pad_id", "other"), "utf-8")
    assert load_tokenizer(none).pad_token is None
    assert "no reserved token for padding" in describe_tokens(none, "plain", family=None)


def test_generation_stops_where_the_model_s_own_template_ends_a_turn(tmp_path: Path) -> None:
    """Like Qwen's bases: the template of the instruction-tuned sibling, but eos ends a text."""
    folder = build_tokenizer("qwen", tmp_path / "base")
    edit_json(folder / "tokenizer_config.json", chat_template=FAMILIES["qwen"].chat_template)
    found = with_own_template(folder)
    assert found != folder
    assert load_tokenizer(found).eos_token == "<|im_end|>"
    line = describe_tokens(found, "chat", family=None)
    assert (
        "chat template of the tokenizer; replies end with <|im_end|> (2) or <|endoftext|> (0)"
        in line
    )
    assert with_own_template(found) == found, "it has the stop already"
    listed = {"eos_token_id": [0, 2]}
    (folder / "generation_config.json").write_text(json.dumps(listed), encoding="utf-8")
    assert with_own_template(folder) == folder, "it had the stop from the start"


def test_every_step_of_a_run_takes_the_base_with_its_template(tmp_path: Path) -> None:
    base = build_base(tmp_path / "base")
    edit_json(base / "tokenizer_config.json", chat_template=None, eos_token="</s>")
    (base / "additional").mkdir()
    raw = {"run_name": "x", "data": {"train_file": "x.jsonl"}}
    named = {"model_name_or_path": str(base), "chat_template": "salamandra"}
    found = resolve_base(Config.model_validate(raw | {"model": named}))
    assert found == resolve_base(Config.model_validate(raw | {"model": named})), "made once"
    model, tokenizer = load_base(found, torch.float32), load_tokenizer(found)
    assert end_of_turn_ids(model, tokenizer) == [2, 5]
    before = load_base(base, torch.float32).state_dict()
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    # What is exported has the template and the stop, and the base's files byte for byte.
    merge_adapter(found, build_adapter(base, tmp_path / "adapter", steps=0), tmp_path / "merged")
    merged = auto_tokenizer(tmp_path / "merged")
    assert merged.chat_template == FAMILIES["salamandra"].chat_template
    assert (merged.eos_token, merged.pad_token) == ("<|im_end|>", "<pad>")
    generation = json.loads((tmp_path / "merged/generation_config.json").read_text("utf-8"))
    assert (generation["eos_token_id"], generation["pad_token_id"]) == ([5, 2], 3)
    for name in ("tokenizer.model", "tokenizer.json", "config.json"):
        assert (tmp_path / "merged" / name).read_bytes() == (base / name).read_bytes()


def test_a_gguf_is_served_with_the_template_it_was_trained_with(tmp_path: Path) -> None:
    pytest.importorskip("xllamacpp", reason="llama.cpp is not installed")
    from trainers.export.gguf import convert
    from trainers.export.llama_server import LlamaServer
    from trainers.export.prompts import chat_prompts
    from trainers.export.token_gates import gate_served_prompts, tokenizer_settings

    base = build_base(tmp_path / "base")
    edit_json(base / "tokenizer_config.json", chat_template=None, eos_token="</s>")
    found = with_chat_template(base, "mistral")
    fmt = read_format(found, "chat")
    prompts = chat_prompts(fmt, [TURNS])
    settings = tokenizer_settings(fmt, prompts)
    convert(found, tmp_path / "x.gguf", outtype="f16", tokenizer_settings=settings)
    with LlamaServer(tmp_path / "x.gguf", context_tokens=256) as llama:
        gate = gate_served_prompts(llama, prompts)
        assert gate.passed, gate.detail
        prompt = llama.render_chat(TURNS)
    assert prompt == "[INST] Sé breve.\n\n¿Cuántas rutas hay? [/INST]"
