"""A GGUF served by llama.cpp with default arguments renders the prompts that were trained."""

from pathlib import Path

import pytest

from datasets_src.chat.pinned import pin_template
from datasets_src.chat.render import render
from datasets_src.types import Message
from tests.real.fetch import real_file
from tests.trainers.export.tiny_export import build_base, edit_json

TURNS = [
    Message(role="system", content="Sé breve."),
    Message(role="user", content="¿Cuántas rutas hay?"),
    Message(role="assistant", content="Doce"),
    Message(role="user", content="¿Y en León?"),
]
ENDS = {
    "Qwen-Qwen3-0.6B": "<|im_start|>assistant\n<think>\n\n</think>\n\n",
    "deepseek-ai-DeepSeek-R1-Distill-Llama-8B": "<｜Assistant｜><think>\n\n</think>\n\n",
    "Qwen-QwQ-32B": "<|im_start|>assistant\n<think>\n</think>",
    "meta-llama-Llama-3.1-8B-Instruct": "<|start_header_id|>assistant<|end_header_id|>\n\n",
    "meta-llama-Llama-3.2-3B-Instruct": "<|start_header_id|>assistant<|end_header_id|>\n\n",
    "mistralai-Mistral-Nemo-Instruct-2407": "Doce</s>[INST]Sé breve.\n\n¿Y en León?[/INST]",
}


@pytest.mark.parametrize("name", ENDS)
def test_llama_cpp_renders_the_trained_prompt(name: str, tmp_path: Path) -> None:
    pytest.importorskip("xllamacpp", reason="llama.cpp is not installed")
    from trainers.export.gguf import convert
    from trainers.export.llama_server import LlamaServer

    special = {"bos_token": "<s>", "eos_token": "</s>"}
    template = real_file(f"templates/{name}.jinja").read_text("utf-8")
    pinned = pin_template(template, special, enable_thinking=False)
    base = build_base(tmp_path / "base")
    edit_json(base / "tokenizer_config.json", chat_template=pinned, **special)
    convert(base, tmp_path / "x.gguf", outtype="f16")
    conversations = [TURNS, TURNS[:2], TURNS[1:2]]
    wanted = render(pinned, special, conversations, cue=True)
    assert wanted[0].endswith(ENDS[name])
    if "Llama-3" in name:
        assert all("Today Date: 26 Jul 2024" in text for text in wanted)
    with LlamaServer(tmp_path / "x.gguf", context_tokens=256) as llama:
        found = [llama.render_chat(turns) for turns in conversations]
    # A BOS that the file lets the tokenizer add is taken off the text.
    assert [t.removeprefix("<s>") for t in found] == [t.removeprefix("<s>") for t in wanted]
