"""Prompts: every fault of a template before the first call, examples as solved turns."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from datasets_src.errors import UserError
from datasets_src.recipes.contract import Prompt
from datasets_src.recipes.teacher.prompts import PromptBook, Rules

RULES = Rules({"wish": "what is asked for", "description": "the text to adapt"}, ("description",))


def faults_of(template: str) -> tuple[str, ...]:
    with pytest.raises(UserError) as caught:
        PromptBook({"options.rewrite": RULES}, {"options.rewrite": Prompt(template=template)})
    return caught.value.faults


def test_a_template_that_forgets_the_rows_field_is_refused() -> None:
    (fault,) = faults_of("Escribe una pregunta sobre big data. {wish}")
    assert fault.startswith("options.rewrite.template: does not name {description} (the text to")


@pytest.mark.parametrize("name", ["descripcion", "description.x", "description[0]", "0", ""])
def test_unknown_placeholders_are_named_with_the_known_ones(name: str) -> None:
    fault = faults_of("{wish} {description} {" + name + "}")[0]
    assert f"unknown placeholder {{{name}}}" in fault
    assert "known: {wish}, {description}" in fault


def test_a_typo_is_told_with_the_name_that_is_meant() -> None:
    faults = faults_of("{descripcion}")
    assert "did you mean {description}?" in faults[0]
    assert len(faults) == 2


def test_braces_of_the_text() -> None:
    assert "write {{ and }} for literal braces" in faults_of('{description} {"a": 1')[0]
    prompt = Prompt(template='{description} {{"a": 1}}')
    book = PromptBook({"p": RULES}, {"p": prompt})
    # What the row brings is text, whatever braces it has.
    assert book.messages(prompt, {"description": "{wish}"})[0]["content"] == '{wish} {"a": 1}'


def write(path: Path, rows: Sequence[Mapping[str, object]]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return str(path)


def test_examples_that_match_stand_before_the_question(tmp_path: Path) -> None:
    rows = [
        {"Prompt": wish, "description": f"{wish}{i}", "Nueva": f"nueva {wish}{i}"}
        for i in range(3)
        for wish in ("a", "b")
    ]
    prompt = Prompt(
        template="{wish}: {description}",
        examples_file=write(tmp_path / "shots.jsonl", rows),
        examples_columns={"wish": "Prompt", "answer": "Nueva"},
        examples_match="wish",
        num_examples=2,
    )
    book = PromptBook({"p": RULES}, {"p": prompt})
    turns = [m["content"] for m in book.messages(prompt, {"wish": "b", "description": "x"})]
    assert turns == ["b: b0", "nueva b0", "b: b1", "nueva b1", "b: x"]
    turns = [m["content"] for m in book.messages(prompt, {"wish": "c", "description": "x"})]
    assert turns[:2] == ["a: a0", "nueva a0"], "where none matches, the first ones"


def test_examples_without_an_answer_are_refused(tmp_path: Path) -> None:
    file = write(tmp_path / "shots.jsonl", [{"description": "x", "respuesta": "y"}])
    prompt = Prompt(template="{description}", examples_file=file)
    with pytest.raises(UserError, match=r"row 1 has no 'answer'; present: description, respuesta"):
        PromptBook({"p": RULES}, {"p": prompt})
