"""Write the boletin set: invented papers in four formats, and the works that they cite.

    python -m datasets_src.generators.boletin.generate    writes shipped/boletin/
    papers/triton.xml          JATS in Spanish            papers/cabirol.tei.xml   GROBID's, Catalan
    papers/roe_deer.cermxml    CERMINE's, in English      papers/nutria.pdf        nothing but a PDF
    works.jsonl                {"DOI": "10.5555/bol.2019.17", "title": ["Dieta del tritón …"], …}

works.jsonl is in the JSON form of Crossref's /works. Each work has a twin about another place, so
that a title must be told from one much like it; some came out in print a year later; and of each
paper a reference is to nothing that Crossref knows.
"""

import json
from collections.abc import Callable, Iterator
from random import Random
from typing import NamedTuple

from datasets_src.generators.boletin.facts import ANIMALS, FOODS, MONTHS, SAID, THEMES, Animal
from datasets_src.generators.boletin.pages import (
    write_cermine,
    write_jats,
    write_pdf,
    write_tei,
)
from datasets_src.generators.boletin.written import Entry, Sentence, Written
from datasets_src.generators.folders import SHIPPED
from datasets_src.generators.world import COMARCAS, YEARS

SEED = 11
FOLDER = SHIPPED / "boletin"
LATE = 0.3  # share of the works of which print came a year later


class Kind(NamedTuple):
    """A format of papers: its file's ending, and what writes it."""

    ending: str
    language: str
    write: Callable[[Written], bytes]


KINDS = (
    Kind(".xml", "es", write_jats),
    Kind(".tei.xml", "ca", write_tei),
    Kind(".cermxml", "en", write_cermine),
    Kind(".pdf", "es", write_pdf),
    Kind(".xml", "ca", write_jats),
)


def generate() -> dict[str, bytes]:
    """Contents of the files by name; the same on every machine."""
    rng = Random(SEED)
    numbers = iter(rng.sample(range(10, 1000), 4 * len(ANIMALS) * len(THEMES)))
    files: dict[str, bytes] = {}
    works: list[dict[str, object]] = []
    for index, animal in enumerate(ANIMALS):
        kind = KINDS[index % len(KINDS)]
        paper, cited = make_paper(animal, kind.language, numbers=numbers, rng=rng)
        stem = animal.the[kind.language].replace("l'", "").split(" ", 1)[-1].replace(" ", "_")
        files[f"papers/{_plain(stem)}{kind.ending}"] = kind.write(paper)
        works += cited
    rng.shuffle(works)
    lines = [json.dumps(work, ensure_ascii=False) for work in works]
    return files | {"works.jsonl": ("\n".join(lines) + "\n").encode()}


def make_paper(
    animal: Animal, language: str, *, numbers: Iterator[int], rng: Random
) -> tuple[Written, list[dict[str, object]]]:
    """A paper that cites one work a theme, two together, all, and one that nobody knows."""
    said, places = SAID[language], rng.sample(COMARCAS, 2)
    slots = {"of": animal.of[language], "the": animal.the[language], "place": places[0]}
    entries: list[Entry] = []
    works: list[dict[str, object]] = []
    sentences: list[Sentence] = [(said["intro"][1].format(**slots), ())]
    for number, theme in enumerate(THEMES):
        year = rng.choice(YEARS[:-1])
        for place in places:
            title = said[theme][0].format(**{**slots, "place": place})
            works.append(_work(title, year, next(numbers), rng))
        entries.append(Entry(said[theme][0].format(**slots), year))
        sentences.append((_tell(theme, language, slots, rng), (number,)))
    entries.append(Entry(said["lost"][0], rng.choice(YEARS)))
    sentences += [
        (_tell("both", language, slots, rng), (0, 1)),
        (_tell("all", language, slots, rng), (0, 1, 2, 3)),
        (_tell("lost", language, slots, rng), (len(entries) - 1,)),
    ]
    title = said["intro"][0].format(**slots)
    doi = f"10.5555/bol.{next(numbers)}"
    return Written(title, language, doi, tuple(sentences), tuple(entries)), works


def _tell(theme: str, language: str, slots: dict[str, str], rng: Random) -> str:
    more = {
        "food": rng.choice(FOODS[language]),
        "month": rng.choice(MONTHS[language]),
        "year": rng.choice(YEARS),
        "num": rng.randrange(120, 900),
        "few": rng.randrange(2, 30),
    }
    text = SAID[language][theme][1].format(**slots, **more, c="{c}")
    return text[0].upper() + text[1:]


def _work(title: str, year: int, number: int, rng: Random) -> dict[str, object]:
    """As Crossref has it: a subtitle of its own, and print perhaps a year after."""
    head, _, tail = title.partition(": ")
    late = {"published-print": {"date-parts": [[year + 1, 2]]}} if rng.random() < LATE else {}
    return {
        "DOI": f"10.5555/bol.{year}.{number}",
        "title": [head],
        **({"subtitle": [tail]} if tail else {}),
        "issued": {"date-parts": [[year, 11]]},
        **late,
    }


def _plain(text: str) -> str:
    return text.translate(str.maketrans("áéíóúàèòçñü", "aeiouaeocnu"))


def main() -> None:
    """Write the files beside this script."""
    for name, data in generate().items():
        path = FOLDER / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(data)


if __name__ == "__main__":
    main()
