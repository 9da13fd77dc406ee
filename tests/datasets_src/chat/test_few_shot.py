"""Few-shot prompts: a deterministic choice over distinct groups, tokenised as in training."""

from pathlib import Path
from types import ModuleType
from typing import cast

import pytest
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoTokenizer

from datasets_src.chat.families import FAMILIES
from datasets_src.chat.few_shot import (
    Prompting,
    conversation,
    fit_shots,
    pick_shots,
    prompt_tokens,
    read_system_prompt,
)
from datasets_src.chat.tokenise import open_tokenizer, read_format, tokenise
from datasets_src.errors import UserError
from datasets_src.task import Task, load_task
from datasets_src.types import Example, ExampleRenderer, Message
from tests.datasets_src.chat.test_tokenise import retemplated

ROWS = st.lists(st.tuples(st.text(min_size=1, max_size=3), st.sampled_from("abcdefg")), max_size=12)


def example(question: str, sql: str, *, system: str | None = None) -> Example:
    inputs = {"question": question, "schema": "", "system": system}
    return Example(id=question, group=question, inputs=inputs, target=sql)


@pytest.fixture
def text2sql() -> Task:
    return load_task("text2sql")


@pytest.fixture
def with_system() -> ExampleRenderer:
    """A task whose prompts have a system turn, as query_json's."""
    task = ModuleType("with_system")

    def to_messages(row: Example) -> list[Message]:
        user = Message(role="user", content=row.inputs["question"])
        system = row.inputs["system"]
        return [*([Message(role="system", content=system)] if system else []), user]

    task.to_messages = to_messages  # type: ignore[attr-defined]
    return cast(ExampleRenderer, task)


@given(
    rows=ROWS, num=st.integers(0, 5), seed=st.integers(0, 3), avoid=st.sets(st.sampled_from("ab"))
)
def test_shots_are_of_different_groups_and_never_of_the_avoided(
    rows: list[tuple[str, str]], num: int, seed: int, avoid: set[str]
) -> None:
    ids, groups = [f"{i}{id}" for i, (id, _) in enumerate(rows)], [group for _, group in rows]
    picked = pick_shots(ids, groups, num=num, seed=seed, avoid=avoid)
    of = [groups[i] for i in picked]
    assert len(of) == len({*of}) == min(num, len({*groups} - avoid))
    assert not {*of} & avoid
    # Neither the order of the rows nor those that are never picked change what is picked.
    order = sorted(range(len(rows)), key=lambda i: ids[i][::-1])
    again = pick_shots(
        [ids[i] for i in order], [groups[i] for i in order], num=num, seed=seed, avoid=avoid
    )
    assert [ids[order[i]] for i in again] == [ids[i] for i in picked]
    assert pick_shots(ids, groups, num=num + 1, seed=seed, avoid=avoid)[:num] == picked


def test_a_row_that_is_not_usable_gives_its_place_to_the_next() -> None:
    ids, groups = list("pqrstu"), list("aabbcc")
    first = pick_shots(ids, groups, num=3, seed=1)
    other = pick_shots(ids, groups, num=3, seed=1, is_usable=lambda i: i != first[0])
    assert groups[other[0]] == groups[first[0]] and other[0] != first[0]
    assert other[1:] == first[1:]
    assert {tuple(pick_shots(ids, groups, num=3, seed=seed)) for seed in range(20)} > {tuple(first)}


def test_a_chat_prompt_has_the_examples_as_turns_before_it(
    chat_model: Path, text2sql: Task
) -> None:
    fmt = read_format(chat_model, "chat")
    shots = (example("¿Rutas?", "SELECT 1"), example("¿Zonas?", "SELECT 2"))
    rows = [example("¿Cuántas?", "SELECT 3"), example("¿Hay?", "SELECT 4")]
    found = prompt_tokens(
        fmt,
        open_tokenizer(fmt),
        task=text2sql,
        examples=rows,
        prompting=Prompting(shots, "Solo SQL."),
    )
    tokenizer = AutoTokenizer.from_pretrained(chat_model)
    head = (
        "<|im_start|>system\nSolo SQL.<|im_end|>\n"
        "<|im_start|>user\n¿Rutas?<|im_end|>\n<|im_start|>assistant\nSELECT 1<|im_end|>\n"
        "<|im_start|>user\n¿Zonas?<|im_end|>\n<|im_start|>assistant\nSELECT 2<|im_end|>\n"
    )
    for ids, question in zip(found, ("¿Cuántas?", "¿Hay?"), strict=True):
        asked = f"<|im_start|>user\n{question}<|im_end|>\n<|im_start|>assistant\n"
        assert tokenizer.decode(ids) == head + asked
        assert ids == tokenizer.encode(head + asked, add_special_tokens=False)
    shared = len(tokenizer.encode(head, add_special_tokens=False))
    assert found[0][:shared] == found[1][:shared], "what all prompts begin with is the same ids"


def test_a_plain_prompt_has_them_as_text_and_one_beginning(
    byte_model: Path, text2sql: Task
) -> None:
    fmt = read_format(byte_model, "plain")
    [ids] = prompt_tokens(
        fmt,
        open_tokenizer(fmt),
        task=text2sql,
        examples=[example("¿Cuántas?", "SELECT 3")],
        prompting=Prompting((example("¿Rutas?", "SELECT 1"),), "Solo SQL."),
    )
    assert ids[0] == fmt.bos_id and ids.count(fmt.bos_id) == 1
    assert AutoTokenizer.from_pretrained(byte_model).decode(ids[1:]) == (
        "Solo SQL.\n\n"
        "### Base de datos:\n\n### Instrucción: ¿Rutas?\n### SQL:SELECT 1;\n\n"
        "### Base de datos:\n\n### Instrucción: ¿Cuántas?\n### SQL:"
    )


@pytest.mark.parametrize("template", ["chat", "plain"])
def test_without_anything_before_it_a_prompt_is_that_of_training(
    byte_model: Path, text2sql: Task, template: str
) -> None:
    fmt = read_format(byte_model, template)
    encode, rows = open_tokenizer(fmt), [example("¿Cuántas?", "SELECT 3")]
    [trained] = tokenise(fmt, encode, task=text2sql, examples=rows)
    [asked] = prompt_tokens(fmt, encode, task=text2sql, examples=rows, prompting=Prompting())
    assert asked == trained.input_ids[: trained.prompt_len]


def test_equal_system_turns_are_written_once(with_system: ModuleType) -> None:
    shots = (example("uno", "1", system="JSON."), example("dos", "2", system="XML."))
    asked = example("tres", "3", system="JSON.")
    turns = conversation(with_system, asked, Prompting(shots))
    assert [(turn["role"], turn["content"]) for turn in turns] == [
        ("system", "JSON."),
        ("user", "uno"),
        ("assistant", "1"),
        ("user", "XML.\n\ndos"),
        ("assistant", "2"),
        ("user", "tres"),
    ]
    turns = conversation(with_system, asked, Prompting(shots, "Otra cosa."))
    assert [turn["content"] for turn in turns] == ["Otra cosa.", "uno", "1", "dos", "2", "tres"]


def test_a_system_turn_of_a_task_goes_through_every_family_s_format(
    with_system: ExampleRenderer, byte_model: Path, tmp_path: Path
) -> None:
    for name, family in FAMILIES.items():
        template = family.chat_template.replace("<|eot_id|>", "<|im_end|>")
        template = template.replace("<|endoftext|>", "<|im_end|>")
        fmt = read_format(retemplated(byte_model, tmp_path / name, template), "chat")
        [ids] = prompt_tokens(
            fmt,
            open_tokenizer(fmt),
            task=with_system,
            examples=[example("tres", "3", system="Solo JSON.")],
            prompting=Prompting((example("uno", "1", system="Solo JSON."),)),
        )
        text = AutoTokenizer.from_pretrained(byte_model).decode(ids)
        assert text.count("Solo JSON.") == 1
        places = [text.index(part) for part in ("Solo JSON.", "uno", "1", "tres")]
        assert places == sorted(places), name


def test_a_template_that_rejects_several_turns_is_reported(
    byte_model: Path, tmp_path: Path, text2sql: ModuleType
) -> None:
    once = FAMILIES["qwen"].chat_template
    once = "{% if messages | length > 3 %}{{ raise_exception('one turn') }}{% endif %}" + once
    fmt = read_format(retemplated(byte_model, tmp_path / "once", once), "chat")
    with pytest.raises(UserError) as caught:
        prompt_tokens(
            fmt,
            open_tokenizer(fmt),
            task=text2sql,
            examples=[example("¿Cuántas?", "SELECT 3")],
            prompting=Prompting((example("¿Rutas?", "SELECT 1"), example("¿Qué?", "SELECT 2"))),
        )
    assert str(caught.value) == (
        "eval.num_few_shot: 2 examples before row ¿Cuántas?: the chat template rejects it "
        "(one turn); set num_few_shot=0"
    )


def test_fit_shots_keeps_the_longest_prefix_that_fits() -> None:
    shots = tuple(example(c, "") for c in "abc")

    def num_tokens(prompting: Prompting) -> int:
        return 10 + 5 * len(prompting.shots)

    for room, num in ((25, 3), (24, 2), (15, 1), (14, 0), (3, 0)):
        found = fit_shots(Prompting(shots, "s"), num_tokens, room=room)
        assert found == Prompting(shots[:num], "s"), room


def test_a_system_prompt_is_a_file_or_a_text(tmp_path: Path) -> None:
    path = tmp_path / "prompt.txt"
    path.write_text("  Eres experto.\n\nSolo SQL.\n", encoding="utf-8")
    assert read_system_prompt(str(path)) == "Eres experto.\n\nSolo SQL."
    assert read_system_prompt("Responde solo con SQL.") == "Responde solo con SQL."
    assert read_system_prompt("Responde.") == "Responde."
    assert read_system_prompt("x" * 5000) == "x" * 5000
    with pytest.raises(
        ValueError, match=r"no file .*promt.txt; name an existing file, or give the te"
    ):
        read_system_prompt(str(tmp_path / "promt.txt"))
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ValueError, match="cannot be read"):
        read_system_prompt(str(path))
