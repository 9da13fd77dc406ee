"""Write the biografias set: short lives in Spanish, and reading questions about them.

    python -m datasets_src.generators.biografias.generate    writes shipped/biografias/
    {"id": "b0001", "group": "p017", "passage": "Biografía \\nElvira Ribalta nació en Valseca y …",
     "questions": ["¿Dónde nació Ribalta?", "¿Verdadero o falso? Ribalta estudió música."],
     "split": "train"}

A group is a passage, and each is asked about in several ways. Questions follow the text. The
statement to judge is about the next fact; where the text tells another of the same kind, it has
the value of either, so that half of those are false and only reading tells which.
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
# How many open questions, and whether a statement to judge comes after them.
WANTED = ((2, False), (3, False), (4, False), (2, True), (3, True))
ROWS_PER_PASSAGE = 3
FOLDER = SHIPPED / "biografias"
FILE = "questions.jsonl"
Row = dict[str, str | list[str]]


def generate() -> dict[str, str]:
    """Contents of the file by its name; the same on every machine."""
    lines = [json.dumps(row, ensure_ascii=False) for row in make_rows(Random(SEED))]
    return {FILE: "\n".join(lines) + "\n"}


def make_rows(rng: Random) -> list[Row]:
    """Rows of both splits, train first; no two passages are the same."""
    lives: dict[str, Life] = {}
    while len(lives) < NUM_TRAIN + NUM_VALIDATION:
        life = make_life(rng)
        lives.setdefault(tell(life), life)
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
    """Some of the FACTS in their order, each with a value of its own."""
    first_name, surname = rng.choice(FIRST_NAMES), rng.choice(SURNAMES)
    facts: list[tuple[Fact, str]] = []
    for fact in sorted(rng.sample(FACTS, rng.choice(NUM_FACTS)), key=FACTS.index):
        used = {first_name, *(value for _, value in facts)}
        free = [value for value in DOMAINS[fact.domain] if value not in used]
        facts.append((fact, rng.choice(free)))
    return Life(first_name, surname, tuple(facts))


def tell(life: Life) -> str:
    """The passage: a heading as in an encyclopedia, and two facts in a sentence."""
    told = [fact.told.format(value) for fact, value in life.facts]
    sentences = [" y ".join(told[i : i + 2]) for i in range(0, len(told), 2)]
    subjects = [f"{life.first_name} {life.surname}"] + [life.surname] * (len(sentences) - 1)
    text = " ".join(f"{who} {what}." for who, what in zip(subjects, sentences, strict=True))
    return f"Biografía \n{text}"


def ask(life: Life, rng: Random) -> Iterator[list[str]]:
    """Lists of questions, each of another kind of WANTED."""
    for num_open, judged in sorted(rng.sample(WANTED, ROWS_PER_PASSAGE)):
        questions = [fact.asked.format(life.surname) for fact, _ in life.facts[:num_open]]
        yield [*questions, statement(life, num_open, rng)] if judged else questions


def statement(life: Life, index: int, rng: Random) -> str:
    """Fact `index` to be judged, perhaps with the value of another of its domain."""
    fact, _ = life.facts[index]
    values = [value for other, value in life.facts if other.domain == fact.domain]
    return f"¿Verdadero o falso? {life.surname} {fact.told.format(rng.choice(values))}."


def main() -> None:
    """Write the file beside this script."""
    for name, text in generate().items():
        (FOLDER / name).write_bytes(text.encode("utf-8"))


if __name__ == "__main__":
    main()
