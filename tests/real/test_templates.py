"""Every published chat template trains what it serves, or is refused by name with the reason.

The templates come with llama.cpp. Each is given to a tokenizer that has its tags.
"""

import re
from pathlib import Path
from typing import Any

import pytest

from datasets_src.chat.base_template import with_own_template
from datasets_src.chat.pinned import pin_template, pins_of
from datasets_src.chat.thinking import answer_of, closing
from datasets_src.chat.tokenise import auto_tokenizer, chat_tokens, open_tokenizer, read_format
from datasets_src.errors import UserError
from datasets_src.types import Message
from tests.real.chat_tokenizer import tokenizer_for
from tests.real.fetch import real_dir, real_file

NO_STOP = "ends a reply without a special token"
REFUSED = {
    "Apertus-8B-Instruct": NO_STOP,
    "Apriel-1.6-15b-Thinker-fixed": NO_STOP,
    "CohereForAI-c4ai-command-r-plus-tool_use": "fails (TypeError: 'NoneType' object is not",
    "GLM-4.6": NO_STOP,
    "GLM-4.7-Flash": NO_STOP,
    "NousResearch-Hermes-2-Pro-Llama-3-8B-tool_use": "fails (TypeError: 'NoneType' object is not",
    "NousResearch-Hermes-3-Llama-3.1-8B-tool_use": "fails (TypeError: 'NoneType' object is not",
    "fireworks-ai-llama-3-firefunction-v2": "fails ('functions' is undefined)",
    "llama-cpp-rwkv-world": NO_STOP,
    "tencent-Hy3": NO_STOP,
}
NAMES = sorted(path.stem for path in (real_dir() / "templates").glob("*.jinja"))
SYSTEM = Message(role="system", content="Sé breve.")
USER = Message(role="user", content="¿Cuántas rutas hay?")
MORE = [Message(role="assistant", content="Doce"), Message(role="user", content="¿Y en León?")]
CONVERSATIONS = ([USER], [SYSTEM, USER], [SYSTEM, USER, *MORE])
REPLY = "SELECT COUNT(*) FROM rutas"


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GALLIPATO_REAL", str(real_dir()))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def read_template(name: str) -> str:
    return real_file(f"templates/{name}.jinja").read_text("utf-8")


def test_the_templates_are_there() -> None:
    real_file("templates/Qwen-Qwen3-0.6B.jinja")
    assert len(NAMES) > 60 and set(REFUSED) < set(NAMES)


@pytest.mark.parametrize("enable_thinking", [False, True])
@pytest.mark.parametrize("name", NAMES)
def test_a_published_template(name: str, enable_thinking: bool, tmp_path: Path) -> None:
    folder = tokenizer_for(read_template(name), tmp_path / name)
    if name in REFUSED:
        with pytest.raises(UserError) as refused:
            with_own_template(folder, enable_thinking=enable_thinking)
        assert REFUSED[name] in str(refused.value) and "\n" not in str(refused.value)
        return
    found = with_own_template(folder, enable_thinking=enable_thinking)
    assert with_own_template(found, enable_thinking=enable_thinking) == found
    fmt, tokenizer = read_format(found, "chat"), auto_tokenizer(found)
    rows = chat_tokens(fmt, open_tokenizer(fmt), list(map(list, CONVERSATIONS)), [REPLY] * 3)
    for turns, row in zip(CONVERSATIONS, rows, strict=True):
        assert row.fault == ""
        prompt = tokenizer.decode(row.input_ids[: row.prompt_len])
        reply = tokenizer.decode(row.input_ids[row.prompt_len : -1])
        assert tokenizer.eos_token_id == row.input_ids[-1] == fmt.stop_id
        assert all(turn["content"] in prompt for turn in turns)
        if not fmt.merges_system:
            assert prompt == served(tokenizer, turns)
        if enable_thinking:
            assert reply.count(REPLY) == 1 and closing(prompt + reply) == ""
        else:
            assert reply.strip() == REPLY == answer_of(reply).strip()


def served(tokenizer: Any, turns: list[Message]) -> str:
    """The prompt of whoever uses the exported tokenizer with its default arguments."""
    text = tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
    return str(text)


@pytest.mark.parametrize("name", sorted({*NAMES} - {*REFUSED}))
def test_no_date_of_today_is_in_a_prompt(name: str) -> None:
    template = read_template(name)
    special = {"bos_token": "<s>", "eos_token": "</s>"}
    pinned = pin_template(template, special, enable_thinking=False)
    assert "strftime_now(" not in pinned
    dated = "strftime_now(" in template or "date_string" in template
    assert dated == ("date_string" in pins_of(pinned))
    if dated:
        assert re.search("26 Jul 2024|2024-07-26|July 26, 2024", pinned)
