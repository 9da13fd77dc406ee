"""The shipped biblioteca set: the generator reproduces its bytes, and both answer modes work."""

import json
from collections import defaultdict

import pytest

from datasets_src.generators.biblioteca import generate
from datasets_src.scoring.score import best_constant, score_replies
from datasets_src.split import split_rows
from datasets_src.tasks import doi
from datasets_src.text.dois import find_dois

FILE = generate.FOLDER / generate.FILE
ROWS = [json.loads(line) for line in FILE.read_text("utf-8").splitlines()]
TRAIN = [row for row in ROWS if row["split"] == "train"]
VALIDATION = [row for row in ROWS if row["split"] == "validation"]


def test_the_generator_reproduces_the_committed_bytes() -> None:
    for name, text in generate.generate().items():
        assert (FILE.parent / name).read_bytes() == text.encode("utf-8"), name


def test_counts() -> None:
    assert (len(TRAIN), len(VALIDATION)) == (510, 120)
    assert len({row["id"] for row in ROWS}) == len(ROWS)
    assert FILE.stat().st_size < 300_000
    counts = [sum(len(row["dois"]) == num for row in ROWS) for num in (0, 1, 2)]
    assert counts == [126, 348, 156]


def test_no_article_nor_subject_is_in_both_splits() -> None:
    """Not even as one of the works that are not asked for."""
    seen = [
        {doi for row in rows for doi in find_dois(row["context"]).dois}
        for rows in (TRAIN, VALIDATION)
    ]
    assert not seen[0] & seen[1]
    assert len(seen[0] | seen[1]) == 110
    for held in ("group", "question"):
        assert not {row[held] for row in TRAIN} & {row[held] for row in VALIDATION}


def test_a_question_has_one_answer_and_it_is_in_its_context() -> None:
    answers: dict[str, set[tuple[str, ...]]] = defaultdict(set)
    for row in ROWS:
        answers[row["question"]].add(tuple(row["dois"]))
        assert set(row["dois"]) <= set(find_dois(row["context"]).dois)
    assert len(answers) == len(ROWS)
    subjects = {tuple(row["dois"]) for row in ROWS if row["dois"]}
    assert len(subjects) == 84


@pytest.mark.parametrize("answer_from", ["context", "memory"])
def test_references_are_perfect_and_no_constant_is(answer_from: str) -> None:
    options = doi.Options.model_validate({"answer_from": answer_from, "known_file": str(FILE)})
    examples = list(doi.load(ROWS, options))
    for scores in score_replies(doi, examples, [example.target for example in examples]):
        assert set(scores.values()) == {1.0}
    reply, rows = best_constant(doi, examples, examples, metric=doi.METRIC)
    assert reply == "not found"
    assert sum(row["doi_exact"] for row in rows) / len(rows) == 0.2
    # A list of all that was found is half right by F1, and never by the metric that chooses.
    if answer_from == "context":
        answered = [example for example in examples if example.inputs["dois"]]
        copied = [example.inputs["context"] for example in answered]
        rows = score_replies(doi, answered, copied)
        assert sum(row["doi_f1"] for row in rows) / len(rows) == pytest.approx(0.395, abs=0.001)
        assert sum(row["doi_exact"] for row in rows) == 0


def test_from_memory_what_is_held_out_are_wordings_of_known_subjects() -> None:
    options = doi.Options(answer_from="memory")
    examples = list(doi.load(ROWS, options))
    groups, given = [e.group for e in examples], [e.split for e in examples]
    sides = split_rows(groups, given, size=0.15, seed=42).sides
    answers = [
        {tuple(e.inputs["dois"]) for e, s in zip(examples, sides, strict=True) if s == side}
        for side in ("train", "validation")
    ]
    assert answers[1] <= answers[0]
    assert sides.count("validation") == 99
