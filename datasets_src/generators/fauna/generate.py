"""Write the fauna set: invented descriptions, user wishes, and the texts that fulfil them.

    python -m datasets_src.generators.fauna.generate    writes shipped/fauna/
    {"id": "f0001", "group": "nutria:Ribalta", "wish": "Di al final en cuántas rutas está",
     "description": "La nutria de Ribalta mide 24 cm. …", "science": "Especie: nutria. …",
     "context": "[{\"rutas\": 12}]", "target": "La nutria … Está en 12 rutas.", "split": "train"}

A group is a species in a comarca. Validation holds out whole groups and whole wordings; its species
and comarcas occur in training in other pairs. Names are those of the senderos set, one token each
for the pocket model.
"""

import json
from collections.abc import Iterator
from itertools import cycle, product
from random import Random

from datasets_src.generators.fauna.wishes import WISHES, Population, Wish
from datasets_src.generators.folders import SHIPPED
from datasets_src.generators.world import COMARCAS, SPECIES, YEARS

SEED = 5
NUM_TRAIN_GROUPS = 88
NUM_VALIDATION_GROUPS = 22
WISHES_PER_GROUP = 2
WORDINGS_PER_TRAIN_WISH = 3
FEMININE = ("urraca", "nutria", "salamandra", "víbora", "culebra", "genciana")
REFUGES = ("Bordanueva", "Majadaquieta", "Bordatrigo", "Corralbruja", "Chozaparda", "Corralhonda")
FOLDER = SHIPPED / "fauna"
Row = dict[str, str]


def generate() -> dict[str, str]:
    """Contents of the file by name; the same on every machine."""
    lines = [json.dumps(row, ensure_ascii=False) for row in make_rows(Random(SEED))]
    return {"descriptions.jsonl": "\n".join(lines) + "\n"}


def make_rows(rng: Random) -> list[Row]:
    """Rows of both splits, train first, in random order within a split."""
    populations = invent(rng)
    validation = populations[:NUM_VALIDATION_GROUPS]
    train = populations[NUM_VALIDATION_GROUPS:][:NUM_TRAIN_GROUPS]
    turns = cycle(WISHES)
    rows = [
        make_row(population, wish, wording, split)
        for split, part in (("validation", validation), ("train", train))
        for population in part
        for wish in [next(turns) for _ in range(WISHES_PER_GROUP)]
        for wording in _wordings(wish, split, rng)
    ]
    rng.shuffle(rows)
    rows.sort(key=lambda row: row["split"])  # stable: "train" before "validation"
    return [{"id": f"f{i:04d}", **row} for i, row in enumerate(rows, 1)]


def _wordings(wish: Wish, split: str, rng: Random) -> Iterator[str]:
    if split == "validation":
        yield from wish.validation_wordings
    else:
        yield from rng.sample(wish.train_wordings, WORDINGS_PER_TRAIN_WISH)


def invent(rng: Random) -> list[Population]:
    """A population for each species and comarca; every run of 22 has each species once."""
    pairs = list(product(range(len(COMARCAS)), range(len(SPECIES))))
    shifts = rng.sample(range(len(COMARCAS)), len(COMARCAS))
    return [
        _population(SPECIES[s], COMARCAS[(s + shifts[turn]) % len(COMARCAS)], rng)
        for turn, s in pairs
    ]


def _population(species: tuple[str, str, int], comarca: str, rng: Random) -> Population:
    name, group, is_protected = species
    others = rng.sample([place for place in COMARCAS if place != comarca], 2)
    return Population(
        species=name,
        group=group,
        is_feminine=name in FEMININE,
        is_protected=bool(is_protected),
        comarca=comarca,
        neighbours=(others[0], others[1]),
        length=rng.randrange(6, 26, 2),
        altitude=rng.randrange(800, 2400, 200),
        year=rng.choice(YEARS),
        num_seen=rng.randint(2, 40),
        num_routes=rng.randint(2, 40),
        refuge=rng.choice(REFUGES),
    )


def make_row(population: Population, wish: Wish, wording: str, split: str) -> Row:
    """One row without its id."""
    return {
        "group": f"{population.species}:{population.comarca}",
        "wish": wording,
        "description": population.text,
        "science": population.science,
        "context": json.dumps(wish.given(population), ensure_ascii=False),
        "target": wish.change(population),
        "split": split,
    }


def main() -> None:
    """Write the file to FOLDER."""
    for name, text in generate().items():
        (FOLDER / name).write_bytes(text.encode("utf-8"))


if __name__ == "__main__":
    main()
