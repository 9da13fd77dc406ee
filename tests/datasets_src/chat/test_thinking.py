"""A thinking block at the start of a reply is not scored; one that does not end is no answer."""

from types import SimpleNamespace
from typing import Any, cast

import pytest

from datasets_src.chat.thinking import (
    Thinking,
    answer_of,
    closing,
    count_thinking,
    has_thinking,
    opened_block,
)
from datasets_src.scoring.score import UNCLOSED, explain_replies, score_replies, summarise
from datasets_src.types import Example


@pytest.mark.parametrize(
    ("reply", "answer"),
    [
        ("<think>\nSon 9 km.\n</think>\n\nSELECT 9", "SELECT 9"),
        ("\n<think></think>SELECT 9", "SELECT 9"),
        ("Son 9 km.\n</think>\n\nSELECT 9", "SELECT 9"),  # opened by the prompt
        ("[THINK]9 km[/THINK]SELECT 9", "SELECT 9"),
        ("<seed:think>9 km</seed:think>SELECT 9", "SELECT 9"),
        ("<|START_THINKING|>9<|END_THINKING|>SELECT 9", "SELECT 9"),
        ("<think>\nSon 9 km, o quizá", ""),
        ("<think>a</think>b</think>c", "b</think>c"),
    ],
)
def test_the_answer_follows_the_block(reply: str, answer: str) -> None:
    assert has_thinking(reply) and answer_of(reply) == answer


@pytest.mark.parametrize(
    "reply",
    ["SELECT 9", "", '{"a": "<think>"}', "SELECT '<think>x</think>'", "I think so", "<b>think</b>"],
)
def test_other_replies_are_kept(reply: str) -> None:
    assert not has_thinking(reply) and answer_of(reply) == reply


def test_what_a_prompt_opens_is_closed_in_its_form() -> None:
    assert closing("assistant\n<think>\n") == "\n</think>\n\n"
    assert closing("<|Bot|><think>") == "</think>"
    assert closing("[/INST][THINK]") == "[/THINK]"
    assert closing("<|START_THINKING|>") == "<|END_THINKING|>"
    assert opened_block("assistant\n<think>\n") == "<think>\n"
    for prompt in ("assistant\n", "<think>\n\n</think>\n\n", "</think>", "I think", "<think> yes"):
        assert closing(prompt) == opened_block(prompt) == ""


def test_scores_are_of_answers_and_the_blocks_are_counted() -> None:
    def score(example: Example, reply: str) -> dict[str, float]:
        return {"equal": float(reply == example.target)}

    task = cast(
        Any,
        SimpleNamespace(
            __name__="task",
            METRIC="equal",
            METRICS=("equal",),
            score=score,
            why=lambda example, reply, scores: "" if scores["equal"] else f"not {example.target}",
        ),
    )
    examples = [Example(str(i), str(i), {}, "SELECT 9") for i in range(4)]
    replies = ["<think>9</think>SELECT 9", "SELECT 9", "<think>SELECT 9", "<think>9</think>SELECT"]
    rows = score_replies(task, examples, replies)
    assert [row["equal"] for row in rows] == [1, 1, 0, 0]
    whys = explain_replies(task, examples, replies, rows)
    assert whys == ["", "", UNCLOSED, "not SELECT 9"]
    thinking = count_thinking(replies)
    assert thinking == Thinking(num_replies=3, num_unclosed=1)
    found = summarise(
        "base", task=task, metric="equal", examples=examples, rows=rows, thinking=thinking
    )
    assert (found.num_thinking, found.num_unclosed) == (3, 1)
