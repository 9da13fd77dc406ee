"""The instructions task: prompt formats and scores."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from datasets_src.errors import UserError
from datasets_src.reading.columns import map_rows
from datasets_src.tasks import instructions
from datasets_src.types import Example

ROW = {"id": "7", "group": "7", "split": None, "instruction": "Resume.", "input": "Un texto."}


def make(field_order: Any = "authors", **change: Any) -> Example:
    row = {**ROW, "output": " El refugio cierra. ", **change}
    return next(instructions.load([row], instructions.Options(field_order=field_order)))


def test_prompts() -> None:
    turn = instructions.to_messages
    assert turn(make()) == [{"role": "user", "content": "Resume.\nUn texto."}]
    assert turn(make(input="")) == [{"role": "user", "content": "Resume."}]
    assert turn(make("shared_first")) == [{"role": "user", "content": "Un texto.\nResume."}]
    assert instructions.to_text(make()) == (
        "### Instrucción:\nResume.\n\n### Entrada:\nUn texto.\n\n### Respuesta:\n",
        "El refugio cierra.",
    )
    assert instructions.to_text(make("shared_first"))[0] == (
        "### Entrada:\nUn texto.\n\n### Instrucción:\nResume.\n\n### Respuesta:\n"
    )
    assert instructions.to_text(make(input=""))[0] == (
        "### Instrucción:\nResume.\n\n### Respuesta:\n"
    )


def test_a_file_may_have_no_input() -> None:
    raw: list[dict[str, Any]] = [
        {"instruction": "Resume.", "output": "a"},
        {**ROW, "output": "b", "input": None},
    ]
    rows = map_rows(
        [*raw, {**ROW, "id": "8", "output": "c"}],
        {"input": "*"},
        fields=instructions.FIELDS,
        path=Path("rows.jsonl"),
        key="data.train_file",
    )
    turns = [
        instructions.to_messages(example)[0]["content"]
        for example in instructions.load(rows, instructions.Options())
    ]
    assert turns == ["Resume.", "Resume.", "Resume.\nUn texto."]


def test_scores_and_reasons() -> None:
    example = make()
    perfect = instructions.score(example, "El refugio  cierra.\n")
    assert perfect == {"chrf": 1.0, "token_f1": 1.0, "exact": 1.0}
    assert instructions.why(example, "El refugio cierra.", perfect) == ""
    scores = instructions.score(example, "refugio cierra")
    assert scores["token_f1"] == 1 and scores["exact"] == 0 and 0.5 < scores["chrf"] < 1
    assert instructions.why(example, "refugio cierra", scores) == f"chrF {scores['chrf']:.2f}"
    nothing = instructions.score(example, "")
    assert set(nothing.values()) == {0.0} and instructions.why(example, "", nothing) == "empty"


@pytest.mark.parametrize("change", [{"instruction": " "}, {"output": ""}, {"input": 3}])
def test_unusable_rows_are_errors(change: dict[str, Any]) -> None:
    [name] = change
    with pytest.raises(UserError, match=f"row 7: `{name}` is"):
        make(**change)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(reply=st.text(st.characters(codec=None), max_size=100))
def test_any_reply_has_scores(reply: str) -> None:
    scores = instructions.score(make(), reply)
    assert set(scores) == set(instructions.METRICS)
    assert all(0 <= value <= 1 for value in scores.values())
