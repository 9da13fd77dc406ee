"""Write the consultas set: queries in Catalan, Spanish and English with their JSON targets.

    python -m datasets_src.generators.consultas.generate    writes shipped/consultas/
    {"id": "c0001", "group": "since:nutria:2019", "query": "nutria a partir del 2019",
     "target": {"doc_type": "projects", "filters": {…, "year": ">=2019", …}, …}, "split": "train"}

A group has the translations and one paraphrase of a query. Validation holds out whole slot
combinations and whole wordings: no group and no wording is in both splits.
"""

import itertools
import json
from collections import defaultdict
from collections.abc import Iterator, Sequence
from random import Random
from typing import Any

from datasets_src.generators.consultas import facts
from datasets_src.generators.consultas.facts import LANGUAGES, Choice
from datasets_src.generators.consultas.families import DOMAINS, FAMILIES, Slots, parse
from datasets_src.generators.folders import SHIPPED

SEED = 5
NUM_TRAIN_GROUPS = 20
NUM_VALIDATION_GROUPS = 3
FOLDER = SHIPPED / "consultas"
Row = dict[str, Any]
# (family, language, "train" | "validation" | "rewrite") -> wordings with slots
Wordings = dict[tuple[str, str, str], list[str]]


def generate() -> dict[str, str]:
    """Contents of the files by name; deterministic on every machine."""
    lines = [json.dumps(row, ensure_ascii=False) for row in make_rows(Random(SEED))]
    organisations = {o.value: _names([o])[1:] for o in facts.ORGANISATIONS}
    return {
        "queries.jsonl": "\n".join(lines) + "\n",
        "organisations.json": json.dumps(organisations, ensure_ascii=False, indent=2) + "\n",
        "programmes.tsv": _table(facts.PROGRAMMES),
        "types.tsv": _table(facts.KINDS),
        "places.tsv": _table(facts.PLACES),
    }


def read_wordings() -> Wordings:
    """Read wordings.tsv."""
    found: Wordings = defaultdict(list)
    for line in (FOLDER / "wordings.tsv").read_text(encoding="utf-8").splitlines()[1:]:
        family, language, use, text = line.split("\t")
        found[family, language, use].append(text)
    return found


def make_rows(rng: Random) -> list[Row]:
    """Rows of both splits, train first, in random order within a split."""
    wordings = read_wordings()
    rows = [row for name in FAMILIES for row in _family_rows(name, wordings, rng)]
    rng.shuffle(rows)
    rows.sort(key=lambda row: row["split"])  # stable: "train" before "validation"
    return [{"id": f"c{i:04d}", **row} for i, row in enumerate(rows, 1)]


def _family_rows(name: str, wordings: Wordings, rng: Random) -> Iterator[Row]:
    groups = slot_combinations(FAMILIES[name].slots, rng)
    # a family with few slot values keeps a quarter of them for validation
    num_validation = min(NUM_VALIDATION_GROUPS, max(1, len(groups) // 4))
    for slots in groups[:num_validation]:
        for language in LANGUAGES:
            for wording in wordings[name, language, "validation"]:
                yield _row(name, slots, language, wording, wordings, rng, split="validation")
    for i, slots in enumerate(groups[num_validation : num_validation + NUM_TRAIN_GROUPS]):
        translated = [(language, i) for language in LANGUAGES]
        for language, number in [*translated, (rng.choice(LANGUAGES), i + 1)]:
            texts = wordings[name, language, "train"]
            wording = texts[number % len(texts)]
            yield _row(name, slots, language, wording, wordings, rng, split="train")


def slot_combinations(names: Sequence[str], rng: Random) -> list[Slots]:
    """Every way to fill these slots, in random order."""
    filled = itertools.product(*(DOMAINS[name] for name in names))
    combinations: list[Slots] = [dict(zip(names, chosen, strict=True)) for chosen in filled]
    rng.shuffle(combinations)
    return combinations


def _row(
    name: str,
    slots: Slots,
    language: str,
    wording: str,
    wordings: Wordings,
    rng: Random,
    *,
    split: str,
) -> Row:
    named = {
        slot: _with_preposition(c, language, rng.choice(c.texts[language]))
        for slot, c in slots.items()
    }
    canonical = {
        slot: _with_preposition(c, language, c.texts[language][0]) for slot, c in slots.items()
    }
    [rewrite] = wordings[name, language, "rewrite"]
    target = parse(FAMILIES[name], slots, language, rewrite=rewrite.format(**canonical))
    return {
        "group": ":".join((name, *(choice.value for choice in slots.values()))),
        "query": wording.format(**named),
        "target": target,
        "split": split,
    }


def _with_preposition(choice: Choice, language: str, text: str) -> str:
    return choice.before.get(language, "") + text


def _names(choices: Sequence[Choice]) -> list[str]:
    """Canonical name and all others, each once."""
    texts = (t for c in choices for t in (c.value, *itertools.chain(*c.texts.values())))
    return list(dict.fromkeys(texts))


def _table(choices: Sequence[Choice]) -> str:
    lines = [f"{name}\t{choice.value}" for choice in choices for name in _names([choice])]
    return "\n".join(["name\tcanonical", *lines]) + "\n"


def main() -> None:
    """Write the files to FOLDER."""
    for name, text in generate().items():
        (FOLDER / name).write_bytes(text.encode("utf-8"))


if __name__ == "__main__":
    main()
