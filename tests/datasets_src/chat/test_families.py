"""families.yaml: every chat format is the published one, every preset the authors'."""

from functools import partial
from importlib.util import find_spec
from pathlib import Path

import pytest
from pydantic import ValidationError

from datasets_src.chat.families import (
    FAMILIES,
    PRESETS,
    Family,
    Preset,
    choose_pad,
    fitting_families,
)
from datasets_src.chat.render import render_pairs
from datasets_src.chat.tokenise import TextFormat, render_turns
from datasets_src.types import Message

SYSTEM = Message(role="system", content="Sé breve.")
FIRST = [Message(role="user", content="Hola"), Message(role="assistant", content="Dime")]
ASKED = Message(role="user", content="¿Cuántas?")
# Written out from what each family publishes (the `source` of each in families.yaml).
CHATML = (
    "<|im_start|>system\nSé breve.<|im_end|>\n<|im_start|>user\nHola<|im_end|>\n"
    "<|im_start|>assistant\nDime<|im_end|>\n<|im_start|>user\n¿Cuántas?<|im_end|>\n"
    "<|im_start|>assistant\n"
)
OPENS = {"llama3": "<|begin_of_text|>", "mistral": "<s>"}  # once, before the first turn
PUBLISHED = {
    "salamandra": (CHATML, "Doce<|im_end|>\n"),
    "qwen": (CHATML, "Doce<|im_end|>\n"),
    "llama3": (
        "<|begin_of_text|><|start_header_id|>system<|end_header_id|>\n\nSé breve.<|eot_id|>"
        "<|start_header_id|>user<|end_header_id|>\n\nHola<|eot_id|>"
        "<|start_header_id|>assistant<|end_header_id|>\n\nDime<|eot_id|>"
        "<|start_header_id|>user<|end_header_id|>\n\n¿Cuántas?<|eot_id|>"
        "<|start_header_id|>assistant<|end_header_id|>\n\n",
        "Doce<|eot_id|>",
    ),
    "llama2": (
        "<s>[INST] <<SYS>>\nSé breve.\n<</SYS>>\n\nHola [/INST] Dime </s><s>[INST] ¿Cuántas? "
        "[/INST]",
        " Doce </s>",
    ),
    "mistral": (
        "<s>[INST] Sé breve.\n\nHola [/INST] Dime</s>[INST] ¿Cuántas? [/INST]",
        " Doce</s>",
    ),
    "falcon": (
        "Sé breve.\n\nUser: Hola\n\nAssistant: Dime<|endoftext|>\n\nUser: ¿Cuántas?\n\nAssistant:",
        " Doce<|endoftext|>",
    ),
}


def rendered(template: str, turns: list[Message], **special: str) -> tuple[str, str]:
    """The prompt, and what the reply "Doce" adds to it."""
    fmt = TextFormat("chat", "", template, special, bos_id=None, stop_id=-1)
    [prompt], [full] = render_pairs(partial(render_turns, fmt), fmt.seam, [turns], ["Doce"])
    assert full is not None and full.startswith(prompt)
    return prompt, full[len(prompt) :]


@pytest.mark.parametrize("name", FAMILIES)
def test_a_conversation_is_written_as_published(name: str) -> None:
    template, (prompt, reply) = FAMILIES[name].chat_template, PUBLISHED[name]
    assert rendered(template, [SYSTEM, *FIRST, ASKED]) == (prompt, reply)
    alone, _ = rendered(template, [ASKED])
    assert "Sé breve." not in alone and "system" not in alone, "no system text of its own"
    assert prompt.endswith(alone.removeprefix(OPENS.get(name, "")))


@pytest.mark.parametrize("name", FAMILIES)
def test_the_special_tokens_are_those_that_the_template_writes(name: str) -> None:
    family, (prompt, reply) = FAMILIES[name], PUBLISHED[name]
    assert all(token in prompt + reply for token in family.tokens)
    assert reply.rstrip("\n").endswith(family.stops[0])


@pytest.mark.skipif(find_spec("trl") is None, reason="trl, which ships templates, is not installed")
@pytest.mark.parametrize(("name", "file"), [("llama3", "llama3"), ("qwen", "qwen2_5")])
def test_it_is_what_the_family_s_own_template_writes(name: str, file: str) -> None:
    import trl

    path = Path(trl.__file__).parent / "chat_templates" / f"{file}.jinja"
    turns = [SYSTEM, *FIRST, ASKED]
    theirs = rendered(path.read_text("utf-8"), turns, bos_token="<|begin_of_text|>")
    assert rendered(FAMILIES[name].chat_template, turns) == theirs


def test_presets_are_the_authors() -> None:
    shown = {name: (str(preset), preset.max_new_tokens) for name, preset in PRESETS.items()}
    assert shown["biosenda"] == ("greedy", 256)
    assert shown["impulse"] == ("sampling (temperature 0.1)", 512)
    assert shown["impulse_eval"] == ("greedy", 1024)
    assert shown["doi"] == ("sampling (temperature 0.7)", 256)
    settings = PRESETS["questions"].settings()
    assert PRESETS["questions"].strategy == "contrastive"
    assert settings == {
        "penalty_alpha": 0.6,
        "top_k": 5,
        "temperature": 0.5,
        "repetition_penalty": 1.2,
    }
    assert shown["greedy"] == ("greedy", None)


@pytest.mark.parametrize(
    "settings",
    [
        {"strategy": "greedy", "temperature": 0.7},
        {"strategy": "sampling", "penalty_alpha": 0.6},
        {"strategy": "contrastive", "top_k": 5},
        {"strategy": "contrastive", "penalty_alpha": 0.6},
        {"strategy": "sampling", "temprature": 0.7},
    ],
)
def test_a_preset_that_its_strategy_does_not_read_is_refused(settings: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        Preset.model_validate({"title": "", **settings})


def test_padding_is_never_what_ends_or_makes_a_turn() -> None:
    entry = FAMILIES["qwen"].model_dump()
    with pytest.raises(ValidationError, match="a padding token must have no other use"):
        Family.model_validate(entry | {"pads": ["<|endoftext|>"]})
    assert choose_pad(["<s>", "</s>", "<unk>"]) == "<unk>"
    assert choose_pad(["<s>", "</s>", "<unk>", "<pad>"]) == "<pad>"
    assert choose_pad(["<|endoftext|>", "<|im_start|>", "<|im_end|>"]) is None


def test_families_that_a_tokenizer_can_write() -> None:
    assert fitting_families(["<unk>", "<s>", "</s>"]) == ["llama2", "mistral"]
    assert fitting_families(["<|endoftext|>"]) == ["falcon"]
    assert fitting_families(["<pad>"]) == []
