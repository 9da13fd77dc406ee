"""The shipped biografias set: the generator reproduces its bytes, and its rows pass every rule."""

import json
from collections import Counter

import pytest

from datasets_src.generators.biografias import generate, lives
from datasets_src.scoring.score import best_constant, score_replies
from datasets_src.tasks import questions
from datasets_src.types import Example

FOLDER = generate.FOLDER
ROWS = [json.loads(line) for line in (FOLDER / generate.FILE).read_text("utf-8").splitlines()]
EXAMPLES = list(questions.load(ROWS, questions.Options(answer_form="list")))
TRAIN = [example for example in EXAMPLES if example.split == "train"]
VALIDATION = [example for example in EXAMPLES if example.split == "validation"]


def mean_quality(reply: str) -> float:
    scores = score_replies(questions, VALIDATION, [reply] * len(VALIDATION))
    return sum(row["quality"] for row in scores) / len(scores)


def test_the_generator_reproduces_the_committed_bytes() -> None:
    for name, text in generate.generate().items():
        assert (FOLDER / name).read_bytes() == text.encode("utf-8"), name


def test_counts() -> None:
    assert (len(TRAIN), len(VALIDATION)) == (600, 96)
    assert len({row["id"] for row in ROWS}) == len(ROWS)
    assert (FOLDER / generate.FILE).stat().st_size < 300_000
    for examples in (TRAIN, VALIDATION):
        kinds = Counter(questions.slices(example)["kind"] for example in examples)
        assert kinds["with true/false"] / len(examples) == pytest.approx(0.4, abs=0.05)


def test_a_group_is_a_passage_and_none_is_in_both_splits() -> None:
    passages = {row["group"]: row["passage"] for row in ROWS}
    assert all(passages[row["group"]] == row["passage"] for row in ROWS)
    assert len(set(passages.values())) == len(passages) == 232
    for held in ("group", "passage"):
        sides = [
            {row[held] for row in ROWS if row["split"] == side} for side in ("train", "validation")
        ]
        assert not sides[0] & sides[1]


def test_every_fact_and_name_asked_for_in_validation_is_trained_on() -> None:
    for words in ([fact.question.split()[-2] for fact in lives.FACTS], lives.SURNAMES):
        for word in words:
            assert sum(word in example.target for example in TRAIN) >= 10, word


def test_each_reference_keeps_every_rule() -> None:
    for scores in score_replies(questions, EXAMPLES, [example.target for example in EXAMPLES]):
        assert {k: v for k, v in scores.items() if k != "opener_diversity" and v < 1} == {}


def test_half_of_the_statements_that_could_be_false_are() -> None:
    num_statements, num_false = 0, 0
    for row in ROWS:
        if row["questions"][-1].startswith("¿Verdadero"):
            words = row["questions"][-1].removesuffix(".").split(maxsplit=4)[4]
            num_statements += 1
            num_false += words not in row["passage"]
    assert (num_statements, num_false) == (273, 46)


def test_no_constant_does_well() -> None:
    reply, rows = best_constant(questions, TRAIN, VALIDATION, metric=questions.METRIC)
    assert sum(row["quality"] for row in rows) / len(rows) < 0.05, reply
    # What could be asked of any life says too little of this one.
    assert mean_quality("1. ¿Dónde nació?\n2. ¿Qué estudió?\n3. ¿Con quién se casó?") == 0
    assert mean_quality("1. ¿De qué trata el texto?\n2. ¿Quién es?\n3. ¿Qué hizo?") == 0


def test_a_reply_about_another_life_is_wrong() -> None:
    other = {example.group: example for example in VALIDATION}
    shifted: list[Example] = [*list(other.values())[1:], next(iter(other.values()))]
    scores = score_replies(questions, list(other.values()), [example.target for example in shifted])
    assert sum(row["answerable"] for row in scores) / len(scores) < 0.15
