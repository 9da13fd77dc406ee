"""A template with its choices written into it: thinking, what it writes before an answer, date."""

from pathlib import Path
from typing import Any

import pytest

from datasets_src.chat.base_template import describe_tokens, with_own_template
from datasets_src.chat.pinned import pin_template, pins_of
from datasets_src.chat.tokenise import auto_tokenizer, chat_tokens, open_tokenizer, read_format
from datasets_src.errors import UserError
from datasets_src.types import Message
from tests.datasets_src.chat.test_tokenise import retemplated, turns
from trainers.models.pocket.tokenizer import CHAT_TEMPLATE

SPECIAL = {"bos_token": "<s>", "eos_token": "</s>"}
HEAD = "{%- for m in messages %}{{- '<|im_start|>' + m.role + '\n' }}"
TAIL = "{{- m.content + '<|im_end|>\n' }}{%- endfor %}"
CUE = "{%- if add_generation_prompt %}{{- '<|im_start|>assistant\n' }}{%- endif %}"
# Writes an empty block before the last reply, and for a prompt only without thinking.
BLOCK = "{%- if loop.last and m.role == 'assistant' %}{{- '<think>\n\n</think>\n\n' }}{%- endif %}"
OFF = "{%- if enable_thinking is defined and enable_thinking is false %}"
QWEN = HEAD + BLOCK + TAIL + CUE.replace("{%- endif %}", "") + OFF
QWEN += "{{- '<think>\n\n</think>\n\n' }}{%- endif %}{%- endif %}"
# Opens a block in the prompt and leaves it out before a reply.
OPENS = HEAD + TAIL + CUE.replace("assistant\n", "assistant\n<think>\n")
# Writes a channel before a reply, which no variable turns off.
CHANNEL = HEAD + "{%- if m.role == 'assistant' %}{{- 'final:\n' }}{%- endif %}" + TAIL + CUE
DATED = "{{- 'Hoy es ' + strftime_now(\"%d.%m.%Y\") + '\n' }}" + HEAD + TAIL + CUE
NAMED = (
    "{%- if date_string is not defined %}{%- set date_string = '2024-09-30' %}{%- endif %}"
    "{{- 'Hoy es ' + date_string + '\n' }}" + HEAD + TAIL + CUE
)
LAST = (
    "{%- set system = messages[0].content if messages[0].role == 'system' else '' %}"
    "{%- for m in messages %}{%- if m.role != 'system' %}{{- '<|im_start|>' + m.role + '\n' }}"
    "{%- if system and loop.last and m.role == 'user' %}{{- system + '\n\n' }}{%- endif %}"
    "{{- m.content + '<|im_end|>\n' }}{%- endif %}{%- endfor %}" + CUE
)
EMPTY = "<think>\n\n</think>\n\n"


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def tokenised(folder: Path, conversation: list[Message], target: str) -> tuple[str, str, str]:
    """The prompt, the trained text, and the prompt as transformers renders it by default."""
    fmt, tokenizer = read_format(folder, "chat"), auto_tokenizer(folder)
    [row] = chat_tokens(fmt, open_tokenizer(fmt), [conversation], [target])
    assert row.fault == ""
    prompt, reply = row.input_ids[: row.prompt_len], row.input_ids[row.prompt_len :]
    texts = [str(tokenizer.decode(ids)) for ids in (prompt, reply)]
    return texts[0], texts[1], served_by(tokenizer, conversation)


def served_by(tokenizer: Any, conversation: list[Message], **passed: Any) -> str:
    """The prompt that transformers renders with default arguments, but for those `passed`."""
    text = tokenizer.apply_chat_template(
        conversation, tokenize=False, add_generation_prompt=True, **passed
    )
    return str(text)


@pytest.mark.parametrize(
    ("template", "enable_thinking", "prompt_end", "trained"),
    [
        (QWEN, False, f"assistant\n{EMPTY}", "Doce<|im_end|>"),
        (QWEN, True, "assistant\n", f"{EMPTY}Doce<|im_end|>"),
        (OPENS, False, f"assistant\n{EMPTY}", "Doce<|im_end|>"),
        (OPENS, True, "assistant\n<think>\n", "\n</think>\n\nDoce<|im_end|>"),
        (CHANNEL, False, "assistant\nfinal:\n", "Doce<|im_end|>"),
        (CHANNEL, True, "assistant\n", "final:\nDoce<|im_end|>"),
    ],
)
def test_text_before_an_answer_belongs_to_the_prompt_without_thinking(
    byte_model: Path,
    tmp_path: Path,
    template: str,
    enable_thinking: bool,
    prompt_end: str,
    trained: str,
) -> None:
    folder = retemplated(byte_model, tmp_path / "model", template)
    found = with_own_template(folder, enable_thinking=enable_thinking)
    prompt, reply, served = tokenised(found, turns("¿Cuántas?"), "Doce")
    assert prompt.endswith(f"<|im_start|>{prompt_end}")
    assert (reply, served) == (trained, prompt)
    assert with_own_template(found, enable_thinking=enable_thinking) == found


def test_a_reply_that_is_a_thinking_block_and_an_answer_is_trained_with_thinking(
    byte_model: Path, tmp_path: Path
) -> None:
    folder = retemplated(byte_model, tmp_path / "model", HEAD + TAIL + CUE)
    found = with_own_template(folder, enable_thinking=True)
    _, reply, _ = tokenised(found, turns("¿Cuántas?"), "<think>\n12\n</think>\n\nDoce")
    assert reply == "<think>\n12\n</think>\n\nDoce<|im_end|>"


def test_a_template_without_choices_is_left_as_it_is(byte_model: Path) -> None:
    for enable_thinking in (False, True):
        found = pin_template(CHAT_TEMPLATE, SPECIAL, enable_thinking=enable_thinking)
        assert found == CHAT_TEMPLATE and pins_of(found) == {}
    # A space before a reply is a part of its first word, and stays with it.
    spaced = CHAT_TEMPLATE.replace("message['content']", "' ' + message['content']")
    assert pin_template(spaced, SPECIAL, enable_thinking=False) == spaced


@pytest.mark.parametrize(
    ("template", "day", "written"),
    [(DATED, "26 Jul 2024", "26.07.2024"), (NAMED, "2024-09-30", "2024-09-30")],
    ids=["strftime_now", "date_string"],
)
def test_a_date_is_fixed_to_the_template_s_own_or_a_recorded_one(
    byte_model: Path, tmp_path: Path, template: str, day: str, written: str
) -> None:
    folder = with_own_template(retemplated(byte_model, tmp_path / "model", template))
    prompt, _, served = tokenised(folder, turns("¿Cuántas?"), "Doce")
    assert prompt.startswith(f"Hoy es {written}\n") and served == prompt
    tokenizer = auto_tokenizer(folder)
    assert pins_of(tokenizer.chat_template) == {"date_string": day}
    # llama.cpp passes today's date and thinking to every template.
    passed = {"date_string": "01 Dec 2031", "enable_thinking": True}
    assert served_by(tokenizer, turns("¿Cuántas?"), **passed) == prompt
    assert f"date {day}" in describe_tokens(folder, "chat", family=None)


def test_a_date_in_a_computed_format_is_refused(byte_model: Path, tmp_path: Path) -> None:
    template = DATED.replace('"%d.%m.%Y"', "'%d' + '%m'")
    folder = retemplated(byte_model, tmp_path / "model", template)
    with pytest.raises(UserError, match="strftime_now with a format that is not a literal") as why:
        with_own_template(folder)
    assert "\n" not in str(why.value)


def test_a_template_that_cannot_do_without_thinking_is_refused(
    byte_model: Path, tmp_path: Path
) -> None:
    always = "{%- if enable_thinking is defined and not enable_thinking %}"
    always += "{{- raise_exception('think!') }}{%- endif %}" + HEAD + TAIL + CUE
    folder = retemplated(byte_model, tmp_path / "model", always)
    with pytest.raises(UserError, match=r"without thinking \(think!\); set enable_thinking=true"):
        with_own_template(folder)
    found = with_own_template(folder, enable_thinking=True)
    assert tokenised(found, turns("hola"), "adiós")[1] == "adiós<|im_end|>"


def test_a_system_turn_in_the_last_user_turn_is_trained_as_it_is_served(
    byte_model: Path, tmp_path: Path
) -> None:
    folder = retemplated(byte_model, tmp_path / "model", LAST)
    assert with_own_template(folder) != byte_model
    prompt, reply, served = tokenised(folder, turns("hola"), "adiós")
    assert prompt == "<|im_start|>user\nEres útil.\n\nhola<|im_end|>\n<|im_start|>assistant\n"
    assert (reply, served) == ("adiós<|im_end|>", prompt)
    shots = [*turns("uno"), Message(role="assistant", content="1"), *turns("dos")[1:]]
    prompt, reply, served = tokenised(folder, shots, "2")
    assert "user\nuno<" in prompt and "user\nEres útil.\n\ndos<" in prompt
    assert (reply, served) == ("2<|im_end|>", prompt)
    assert "system turn in the last user turn" in describe_tokens(folder, "chat", family=None)


def test_a_template_of_one_question_has_a_model_line(byte_model: Path, tmp_path: Path) -> None:
    once = "{%- if messages | length > 3 %}{{- raise_exception('one') }}{%- endif %}"
    folder = retemplated(byte_model, tmp_path / "model", once + HEAD + TAIL + CUE)
    assert "system turn kept" in describe_tokens(folder, "chat", family=None)


def test_one_row_that_a_template_rejects_leaves_the_others(
    byte_model: Path, tmp_path: Path
) -> None:
    picky = "{%- if 'prohibido' in messages[-1].content or 'prohibido' in messages[0].content %}"
    picky += "{{- 1 / 0 }}{%- endif %}" + HEAD + TAIL + CUE
    fmt = read_format(retemplated(byte_model, tmp_path / "model", picky), "chat")
    talks = [[Message(role="user", content=text)] for text in ("hola", "prohibido", "adiós")]
    rows = chat_tokens(fmt, open_tokenizer(fmt), talks, ["1", "2", "3"])
    faults = [row.fault for row in rows]
    assert faults == [
        "",
        "the chat template rejects it (ZeroDivisionError: division by zero)",
        "",
    ]
