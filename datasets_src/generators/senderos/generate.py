"""Write the senderos set: Spanish questions, their SQL, and the database that answers them.

    python -m datasets_src.generators.senderos.generate    writes shipped/senderos/
    {"id": "s0001", "group": "contar_rutas:Ribalta", "question": "¿Cuántas rutas hay en Ribalta?",
     "sql": "SELECT COUNT(*) FROM rutas WHERE comarca = 'Ribalta'", "split": "train"}

Validation holds out whole slot combinations and whole wordings: no group and no wording is in
both splits. Within a family no two groups have the same answer, and none has an empty one.
"""

import itertools
import json
import sqlite3
from collections.abc import Iterator
from random import Random

from datasets_src.generators.folders import SHIPPED
from datasets_src.generators.senderos.facts import SCHEMA, Facts, dump, invent
from datasets_src.generators.senderos.families import FAMILIES, NULL_SQL
from datasets_src.generators.senderos.family import Choice, Family, domains

SEED = 2
NUM_TRAIN_GROUPS = 12
NUM_VALIDATION_GROUPS = 4
WORDINGS_PER_TRAIN_GROUP = 4
FOLDER = SHIPPED / "senderos"
Row = dict[str, str]
Slots = dict[str, Choice]


def generate() -> dict[str, str]:
    """Contents of the files by name; deterministic on every machine."""
    rng = Random(SEED)
    facts = invent(rng)
    rows = make_rows(facts, rng)
    lines = [json.dumps(row, ensure_ascii=False) for row in rows]
    return {
        "senderos.sql": dump(facts),
        "schema.sql": SCHEMA,
        "text2sql.jsonl": "\n".join(lines) + "\n",
    }


def make_rows(facts: Facts, rng: Random) -> list[Row]:
    """Rows of both splits, train first, in random order within a split."""
    database = sqlite3.connect(":memory:")
    database.executescript(dump(facts))
    rows = [
        row for family in FAMILIES for row in _family_rows(family, domains(facts), database, rng)
    ]
    database.close()
    rng.shuffle(rows)
    rows.sort(key=lambda row: row["split"])  # stable: "train" before "validation"
    return [{"id": f"s{i:04d}", **row} for i, row in enumerate(rows, 1)]


def _family_rows(
    family: Family,
    values: dict[str, tuple[Choice, ...]],
    database: sqlite3.Connection,
    rng: Random,
) -> Iterator[Row]:
    groups = _answerable(family, slot_combinations(family, values, rng), database)
    # a family with few slot values keeps a quarter of them for validation
    wanted = NUM_TRAIN_GROUPS + NUM_VALIDATION_GROUPS
    chosen = groups[:wanted]
    num_validation = min(NUM_VALIDATION_GROUPS, max(1, len(chosen) // 4))
    for slots in chosen[:num_validation]:
        for wording in family.validation_wordings:
            yield make_row(family, slots, wording, "validation")
    for slots in chosen[num_validation:]:
        for wording in rng.sample(family.train_wordings, WORDINGS_PER_TRAIN_GROUP):
            yield make_row(family, slots, wording, "train")


def slot_combinations(
    family: Family, values: dict[str, tuple[Choice, ...]], rng: Random
) -> list[Slots]:
    """Every way to fill the family's slots, in random order."""
    choices = [values[domain] for domain in family.slots.values()]
    combinations = [
        dict(zip(family.slots, chosen, strict=True)) for chosen in itertools.product(*choices)
    ]
    rng.shuffle(combinations)
    return combinations


def _answerable(
    family: Family, combinations: list[Slots], database: sqlite3.Connection
) -> list[Slots]:
    """Combinations with a non-empty answer, one per answer (all of them if constant)."""
    if family.sql == NULL_SQL:
        return combinations
    answers: dict[tuple[object, ...], Slots] = {}
    for slots in combinations:
        answer = tuple(sorted(database.execute(fill_sql(family, slots)).fetchall()))
        if answer and answer != ((None,),):
            answers.setdefault(answer, slots)
    return list(answers.values())


def fill_sql(family: Family, slots: Slots) -> str:
    """The family's SQL for these slot values."""
    return family.sql.format(**{name: sql for name, (_, sql) in slots.items()})


def group_of(family: Family, slots: Slots) -> str:
    """Family and slot values: shared by all wordings of a request."""
    return ":".join((family.name, *(text for text, _ in slots.values())))


def make_row(family: Family, slots: Slots, wording: str, split: str) -> Row:
    """One row without its id."""
    question = wording.format(**{name: text for name, (text, _) in slots.items()})
    return {
        "group": group_of(family, slots),
        "question": question[0].upper() + question[1:],
        "sql": fill_sql(family, slots),
        "split": split,
    }


def main() -> None:
    """Write the files to FOLDER."""
    for name, text in generate().items():
        (FOLDER / name).write_bytes(text.encode("utf-8"))


if __name__ == "__main__":
    main()
