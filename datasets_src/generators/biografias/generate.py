"""Write the biografias set: short lives in Spanish, and reading questions about them.

    python -m datasets_src.generators.biografias.generate    writes shipped/biografias/
    {"id": "b0001", "group": "p017", "passage": "Biografía \\nElvira Ribalta nació en Valseca y …",
     "questions": ["¿Dónde nació Ribalta?", "¿Verdadero o falso? Ribalta estudió música."],
     "split": "train"}

A group is a passage with several lists of questions, in text order. The true/false statement is
about the next fact; if the text has another fact of the same domain, it takes the value of either,
so half of those are false and only reading the passage shows which.
"""

import json
from collections.abc import Iterator
from random import Random

from datasets_src.generators.biografias.lives import (
    DOMAINS,
    FACTS,
    FIRST_NAMES,
    SURNAMES,
    Fact,
    Life,
)
from datasets_src.generators.folders import SHIPPED

SEED = 5
NUM_TRAIN = 200
NUM_VALIDATION = 32
NUM_FACTS = (4, 5)
# (number of open questions, whether a true/false statement follows)
QUESTION_PLANS = ((2, False), (3, False), (4, False), (2, True), (3, True))
ROWS_PER_PASSAGE = 3
FOLDER = SHIPPED / "biografias"
FILE = "questions.jsonl"
Row = dict[str, str | list[str]]


def generate() -> dict[str, str]:
    """Contents of the file by name; deterministic on every machine."""
    lines = [json.dumps(row, ensure_ascii=False) for row in make_rows(Random(SEED))]
    return {FILE: "\n".join(lines) + "\n"}


def make_rows(rng: Random) -> list[Row]:
    """Rows of both splits, train first; passages are distinct."""
    lives: dict[str, Life] = {}
    while len(lives) < NUM_TRAIN + NUM_VALIDATION:
        life = make_life(rng)
        lives.setdefault(write_passage(life), life)
    rows: list[Row] = []
    for number, (passage, life) in enumerate(lives.items(), 1):
        split = "train" if number <= NUM_TRAIN else "validation"
        for questions in ask(life, rng):
            rows.append(
                {
                    "id": f"b{len(rows) + 1:04d}",
                    "group": f"p{number:03d}",
                    "passage": passage,
                    "questions": questions,
                    "split": split,
                }
            )
    return rows


def make_life(rng: Random) -> Life:
    """A sample of the FACTS in their order, with distinct values."""
    first_name, surname = rng.choice(FIRST_NAMES), rng.choice(SURNAMES)
    facts: list[tuple[Fact, str]] = []
    for fact in sorted(rng.sample(FACTS, rng.choice(NUM_FACTS)), key=FACTS.index):
        used = {first_name, *(value for _, value in facts)}
        free = [value for value in DOMAINS[fact.domain] if value not in used]
        facts.append((fact, rng.choice(free)))
    return Life(first_name, surname, tuple(facts))


def write_passage(life: Life) -> str:
    """The passage: a heading as in an encyclopedia, and two facts per sentence."""
    clauses = [fact.statement.format(value) for fact, value in life.facts]
    sentences = [" y ".join(clauses[i : i + 2]) for i in range(0, len(clauses), 2)]
    subjects = [f"{life.first_name} {life.surname}"] + [life.surname] * (len(sentences) - 1)
    text = " ".join(
        f"{subject} {predicate}." for subject, predicate in zip(subjects, sentences, strict=True)
    )
    return f"Biografía \n{text}"


def ask(life: Life, rng: Random) -> Iterator[list[str]]:
    """Lists of questions, each by a different plan of QUESTION_PLANS."""
    for num_open, judged in sorted(rng.sample(QUESTION_PLANS, ROWS_PER_PASSAGE)):
        questions = [fact.question.format(life.surname) for fact, _ in life.facts[:num_open]]
        yield [*questions, statement(life, num_open, rng)] if judged else questions


def statement(life: Life, index: int, rng: Random) -> str:
    """A true/false statement on fact `index`, possibly with another value of its domain."""
    fact, _ = life.facts[index]
    values = [value for other, value in life.facts if other.domain == fact.domain]
    return f"¿Verdadero o falso? {life.surname} {fact.statement.format(rng.choice(values))}."


def main() -> None:
    """Write the file to FOLDER."""
    for name, text in generate().items():
        (FOLDER / name).write_bytes(text.encode("utf-8"))


if __name__ == "__main__":
    main()
