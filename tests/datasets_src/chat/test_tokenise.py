"""Chat and plain templates: the prompt ends where the prefix difference puts it."""

import json
import shutil
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoTokenizer

from datasets_src.chat.tokenise import chat_tokens, open_tokenizer, plain_tokens, read_format
from datasets_src.errors import UserError
from datasets_src.types import Message

PIECES = [
    " ",
    "\n",
    "\n\n",
    "¿Cuántas rutas",
    "SELECT",
    ";",
    "<|im_end|>",
    "<|im_start|>assistant\n",
]
TEXT = st.lists(st.one_of(st.sampled_from(PIECES), st.text(max_size=3)), max_size=8).map("".join)


def turns(text: str) -> list[Message]:
    return [Message(role="system", content="Eres útil."), Message(role="user", content=text)]


@pytest.mark.parametrize("model", ["chat_model", "byte_model"])
def test_labels_are_the_prefix_difference(model: str, request: pytest.FixtureRequest) -> None:
    folder = request.getfixturevalue(model)
    fmt = read_format(folder, "chat")
    assert fmt.cue == "<|im_start|>assistant\n"
    encode, tokenizer = open_tokenizer(fmt), AutoTokenizer.from_pretrained(folder)

    def ids(messages: list[Message], *, cue: bool) -> list[int]:
        plain = [{"role": m["role"], "content": m["content"]} for m in messages]
        found = tokenizer.apply_chat_template(plain, add_generation_prompt=cue, return_dict=False)
        assert isinstance(found, list)
        return [int(token) for token in found]  # type: ignore[arg-type]

    @settings(max_examples=150, deadline=None)
    @given(prompt=TEXT, target=TEXT)
    def check(prompt: str, target: str) -> None:
        [row] = chat_tokens(fmt, encode, [turns(prompt)], [target])
        head = ids(turns(prompt), cue=True)
        full = ids([*turns(prompt), Message(role="assistant", content=target)], cue=False)
        assert row.fault == ""
        assert (row.prompt_len, row.input_ids[: row.prompt_len]) == (len(head), head)
        assert row.input_ids[-1] == fmt.stop_id
        assert tokenizer.decode(row.input_ids[len(head) :]) == f"{target}<|im_end|>"
        if full[: len(head)] == head:
            assert row.input_ids == full[:-1] and tokenizer.decode(full[-1:]) == "\n"

    check()


def test_a_reply_that_merges_with_the_prompt_is_tokenised_after_it(byte_model: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(byte_model)
    merged = tokenizer.encode("\n\n", add_special_tokens=False)
    assert len(merged) == 1
    fmt = read_format(byte_model, "chat")
    [row] = chat_tokens(fmt, open_tokenizer(fmt), [turns("hola")], ["\nSELECT"])
    newline = tokenizer.encode("\n", add_special_tokens=False)
    assert row.input_ids[row.prompt_len - 1 : row.prompt_len + 1] == newline * 2


def test_chat_adds_no_bos_to_the_template_s_tokens(byte_model: Path) -> None:
    fmt = read_format(byte_model, "chat")
    [row] = chat_tokens(fmt, open_tokenizer(fmt), [turns("hola")], ["adiós"])
    assert fmt.bos_id == 0 and fmt.stop_id == 3
    assert row.input_ids[0] == 2 and 0 not in row.input_ids and 1 not in row.input_ids


def test_plain_is_bos_prompt_completion_eos(byte_model: Path) -> None:
    fmt = read_format(byte_model, "plain")
    encode = open_tokenizer(fmt)
    rows = plain_tokens(fmt, encode, [("### SQL:", "SELECT 1;"), ("<s>ya", ""), ("\n", "\n")])
    prompt, completion, newline = encode(["### SQL:", "SELECT 1;", "\n"])
    assert rows[0].input_ids == [0, *prompt, *completion, 1]
    assert rows[0].prompt_len == 1 + len(prompt)
    assert rows[1].input_ids.count(0) == 1 and rows[1].input_ids[-1] == 1
    assert rows[2].input_ids == [0, *newline, *newline, 1] and rows[2].prompt_len == 2


def retemplated(folder: Path, out: Path, template: str | None) -> Path:
    shutil.copytree(folder, out)
    config = json.loads((out / "tokenizer_config.json").read_text(encoding="utf-8"))
    config.pop("chat_template", None)
    if template is not None:
        config["chat_template"] = template
    (out / "tokenizer_config.json").write_text(json.dumps(config), encoding="utf-8")
    return out


TURNS = "{% for m in messages %}{{ m['role'] + ': ' + m['content'] + 'END' }}{% endfor %}"
CUE = "{% if add_generation_prompt %}assistant: {% endif %}"


def test_unusable_chat_templates_are_reported(byte_model: Path, tmp_path: Path) -> None:
    none = retemplated(byte_model, tmp_path / "none", None)
    with pytest.raises(
        UserError, match=r"none: no chat template; set model.chat_template to salam"
    ):
        read_format(none, "chat")
    endless = retemplated(byte_model, tmp_path / "endless", TURNS.replace("END", "\\n") + CUE)
    with pytest.raises(UserError, match=r"ends a reply without a special .* set model.chat_templ"):
        read_format(endless, "chat")
    broken = retemplated(byte_model, tmp_path / "broken", "{{ raise_exception('no user') }}")
    with pytest.raises(UserError, match=r"its chat template fails \(no user\)"):
        read_format(broken, "chat")
    with pytest.raises(UserError, match="no tokenizer found"):
        read_format(tmp_path, "plain")


def test_a_cue_without_a_special_token_is_found_by_definition(
    byte_model: Path, tmp_path: Path
) -> None:
    folder = retemplated(byte_model, tmp_path / "text", TURNS.replace("END", "</s>") + CUE)
    fmt = read_format(folder, "chat")
    assert fmt.cue == "</s>assistant: "
    folder = retemplated(
        byte_model, tmp_path / "inst", "[INST]" + TURNS.replace("END", "") + "</s>"
    )
    fmt = read_format(folder, "chat")
    [row] = chat_tokens(fmt, open_tokenizer(fmt), [turns("hola")], ["adiós"])
    assert row.fault == "the chat template rewrites the prompt before a reply"


REFUSES = "{% if m['role'] == ROLE %}{{ raise_exception('no ' + ROLE) }}{% endif %}"
DROPS = "{% if m['role'] != 'system' %}" + TURNS[len("{% for m in messages %}") :].replace(
    "{% endfor %}", "{% endif %}{% endfor %}"
)


def test_a_conversation_that_the_template_rejects_is_a_fault(
    byte_model: Path, tmp_path: Path
) -> None:
    picky = "{% for m in messages %}{% if loop.length > 3 %}{{ raise_exception('too long') }}"
    picky += "{% endif %}{% endfor %}" + TURNS.replace("END", "</s>") + CUE
    fmt = read_format(retemplated(byte_model, tmp_path / "picky", picky), "chat")
    conversation = [*turns("hola"), *turns("y")]
    [row] = chat_tokens(fmt, open_tokenizer(fmt), [conversation], ["adiós"])
    assert row.fault == "the chat template rejects it (too long)"


@pytest.mark.parametrize(
    "loop",
    [
        "{% for m in messages %}" + REFUSES.replace("ROLE", "'system'") + "{% endfor %}" + TURNS,
        "{% for m in messages %}" + DROPS,
    ],
    ids=["refused", "left out"],
)
def test_without_a_system_turn_its_text_is_merged_into_the_first_user_turn(
    byte_model: Path, tmp_path: Path, loop: str
) -> None:
    folder = retemplated(byte_model, tmp_path / "gemma", loop.replace("END", "</s>") + CUE)
    fmt = read_format(folder, "chat")
    assert fmt.merges_system
    conversation = [*turns("hola"), Message(role="assistant", content="sí"), *turns("y")[1:]]
    [row] = chat_tokens(fmt, open_tokenizer(fmt), [conversation], ["adiós"])
    text = AutoTokenizer.from_pretrained(folder).decode(row.input_ids)
    assert text == ("user: Eres útil.\n\nhola</s>assistant: sí</s>user: y</s>assistant: adiós</s>")
    assert not read_format(byte_model, "chat").merges_system
