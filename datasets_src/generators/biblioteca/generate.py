"""Write the biblioteca set: an invented library on animals, and questions answered by its DOIs.

    python -m datasets_src.generators.biblioteca.generate    writes shipped/biblioteca/
    {"id": "d0001", "group": "e07", "question": "¿Dónde leo sobre la dieta de la nutria?",
     "context": "Dieta de la nutria en Ribalta: 10.5555/eco.2021.17\\nCenso del mirlo …",
     "dois": ["10.5555/eco.2021.17"], "split": "train"}

A subject is a theme and an animal, e.g. the diet of the otter. It has one work, two, or none, which
makes the answer an empty list. A group is a shelf: a few subjects with their works, which form the
context of all its questions, and one subject without works. Shelves share no subject, so training
sees nothing of a validation shelf, and a subject has one answer in the whole set. 10.5555 is the
prefix that Crossref reserves for examples.
"""

import json
from collections.abc import Iterator
from itertools import product
from random import Random
from typing import NamedTuple

from datasets_src.generators.folders import SHIPPED
from datasets_src.generators.world import COMARCAS, YEARS

SEED = 3
NUM_HELD = 4  # subjects with works per shelf; one more has none
NUM_VALIDATION_SHELVES = 4
SHARE_WITH_TWO = 0.3
WORDINGS_PER_SUBJECT = 6
FOLDER = SHIPPED / "biblioteca"
FILE = "doi.jsonl"
# theme with its article -> journal in the DOI
THEMES = {
    "la dieta": "eco",
    "el hábitat": "eco",
    "el censo": "zoo",
    "la cría": "zoo",
    "la genética": "gen",
    "los parásitos": "gen",
}
ANIMALS = (
    *(
        "del buitre",
        "del mirlo",
        "del alcotán",
        "del búho",
        "del corzo",
        "del rebeco",
        "del jabalí",
    ),
    *("del lirón", "del gallipato", "del sapillo", "del tritón", "del lagarto", "del galápago"),
    *("de la urraca", "de la nutria", "de la salamandra", "de la víbora", "de la culebra"),
)
WORDINGS = (
    "¿Dónde leo sobre {} {}?",
    "Busco trabajos sobre {} {}",
    "¿Qué se ha publicado sobre {} {}?",
    "Quiero citar un estudio de {} {}",
    "¿Quién ha estudiado {} {}?",
    "Necesito bibliografía sobre {} {}",
    "¿Qué artículo trata de {} {}?",
    "Referencias de {} {}",
    "¿Hay algo escrito sobre {} {}?",
)
Row = dict[str, str | list[str]]


class Subject(NamedTuple):
    """A theme of an animal; `works` are (title, DOI)."""

    theme: str
    animal: str
    works: tuple[tuple[str, str], ...]


def generate() -> dict[str, str]:
    """Contents of the file by name; deterministic on every machine."""
    lines = [json.dumps(row, ensure_ascii=False) for row in make_rows(Random(SEED))]
    return {FILE: "\n".join(lines) + "\n"}


def make_rows(rng: Random) -> list[Row]:
    """Rows of both splits, train first, in random order within a split."""
    rows = [
        row for number, shelf in enumerate(make_shelves(rng), 1) for row in ask(number, shelf, rng)
    ]
    rng.shuffle(rows)
    rows.sort(key=lambda row: row["split"])  # stable: "train" before "validation"
    return [{"id": f"d{i:04d}", **row} for i, row in enumerate(rows, 1)]


def make_shelves(rng: Random) -> Iterator[list[Subject]]:
    """Deal all subjects to shelves; the last subject of each shelf has no work."""
    subjects = list(product(THEMES, ANIMALS))
    rng.shuffle(subjects)
    numbers = iter(rng.sample(range(10, 1000), len(subjects) * 2))
    size = NUM_HELD + 1
    for start in range(0, len(subjects) - size + 1, size):
        with_works = [
            Subject(theme, animal, tuple(_works(theme, animal, numbers, rng)))
            for theme, animal in subjects[start : start + NUM_HELD]
        ]
        yield [*with_works, Subject(*subjects[start + NUM_HELD], ())]


def _works(
    theme: str, animal: str, numbers: Iterator[int], rng: Random
) -> Iterator[tuple[str, str]]:
    name = theme.split()[1].capitalize()
    for place in rng.sample(COMARCAS, 2 if rng.random() < SHARE_WITH_TWO else 1):
        doi = f"10.5555/{THEMES[theme]}.{rng.choice(YEARS)}.{next(numbers)}"
        yield f"{name} {animal} en {place}", doi


def ask(number: int, shelf: list[Subject], rng: Random) -> Iterator[Row]:
    """Questions on each subject of a shelf; the works are reshuffled per subject."""
    works = [f"{title}: {doi}" for subject in shelf for title, doi in subject.works]
    for subject in shelf:
        context = "\n".join(rng.sample(works, len(works)))
        for wording in rng.sample(WORDINGS, WORDINGS_PER_SUBJECT):
            yield {
                "group": f"e{number:02d}",
                "question": wording.format(subject.theme, subject.animal),
                "context": context,
                "dois": [doi for _, doi in subject.works],
                "split": "validation" if number <= NUM_VALIDATION_SHELVES else "train",
            }


def main() -> None:
    """Write the file to FOLDER."""
    for name, text in generate().items():
        (FOLDER / name).write_bytes(text.encode("utf-8"))


if __name__ == "__main__":
    main()
