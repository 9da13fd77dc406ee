"""The shipped fuero set: its generator reproduces it, and its validation split is fair."""

import json
from collections import Counter

from datasets_src.generators.fuero import generate
from datasets_src.generators.fuero.topics import LISTS, TOPICS
from datasets_src.tasks import law_qa
from datasets_src.text.law_articles import find_citations

FOLDER = generate.FOLDER
ROWS = [json.loads(line) for line in (FOLDER / "law_qa.jsonl").read_text("utf-8").splitlines()]
TRAIN = [row for row in ROWS if row["split"] == "train"]
VALIDATION = [row for row in ROWS if row["split"] == "validation"]
OPTIONS = law_qa.Options(
    articles_file=str(FOLDER / "articles.json"),
    laws={code: [name] for code, name in generate.LAWS.items()},
)
EXAMPLES = list(law_qa.load(ROWS, OPTIONS))


def test_the_generator_reproduces_the_committed_bytes() -> None:
    for name, text in generate.generate().items():
        assert (FOLDER / name).read_bytes() == text.encode("utf-8"), name


def test_counts() -> None:
    assert (len(TRAIN), len(VALIDATION)) == (648, 90)
    assert len({row["id"] for row in ROWS}) == len(ROWS)
    assert (FOLDER / "law_qa.jsonl").stat().st_size < 300_000
    wordings = [wording for topic in (*TOPICS, LISTS) for wording in topic.wordings]
    assert len(wordings) == len(set(wordings)) == 4 * 11


def test_nothing_is_in_both_splits() -> None:
    for held in ("group", "context"):
        assert not {row[held] for row in TRAIN} & {row[held] for row in VALIDATION}, held
    stems = {row["question"].split(" a) ")[0] for row in VALIDATION}
    assert not stems & {row["question"].split(" a) ")[0] for row in TRAIN}
    lines = [set(row["context"].splitlines()) for rows in (TRAIN, VALIDATION) for row in rows]
    assert all(len(page) == 2 for page in lines)
    trained = set[str]().union(*lines[: len(TRAIN)])
    asked = set[str]().union(*lines[len(TRAIN) :])
    assert (len(trained), len(asked)) == (324, 36) and not trained & asked


def test_kinds_of_rows() -> None:
    counts = {
        split: Counter(law_qa.slices(e)["kind"] for e in EXAMPLES if e.split == split)
        for split in ("train", "validation")
    }
    # 18 pages, each asked for its two articles and their list
    assert counts["validation"] == {"choice": 18, "abstention": 18, "answer": 54}
    assert min(counts["train"].values()) >= 90 and counts["train"]["answer"] >= 2 * 162


def test_a_page_answers_each_question_once() -> None:
    """No two of its articles have a number, a place or a sentence in common."""
    for row in ROWS:
        articles = find_citations(row["context"], OPTIONS.laws)
        places = [c for c in generate.COMARCAS if c in row["context"]]
        assert len(articles) == len(places) == 2
        asked = [place for place in generate.COMARCAS if place in row["question"]]
        if row["answer"] == generate.NO_ANSWER:
            assert not {*asked} & {*places}
        elif asked:
            [line] = [line for line in row["context"].splitlines() if asked[0] in line]
            assert find_citations(line, OPTIONS.laws) == find_citations(row["answer"], OPTIONS.laws)


def test_every_reference_is_perfect() -> None:
    for example in EXAMPLES:
        assert set(law_qa.score(example, example.target).values()) == {1.0}, example.target
