"""Write the boletin set: invented papers in four formats, and the works that they cite.

    python -m datasets_src.generators.boletin.generate    writes shipped/boletin/
    papers/triton.xml          JATS in Spanish            papers/cabirol.tei.xml   GROBID's, Catalan
    papers/roe_deer.cermxml    CERMINE's, in English      papers/nutria.pdf        only a PDF
    works.jsonl                {"DOI": "10.5555/bol.2019.17", "title": ["Dieta del tritón …"], …}

works.jsonl has the JSON format of Crossref's /works. Each work has a twin about another place, so
matching must separate near-identical titles; some works have a print date one year later; and each
paper has one reference that Crossref does not know.
"""

import json
from collections.abc import Callable, Iterator
from random import Random
from typing import NamedTuple

from datasets_src.generators.boletin.facts import ANIMALS, FOODS, MONTHS, TEXTS, THEMES, Animal
from datasets_src.generators.boletin.pages import (
    write_cermine,
    write_jats,
    write_pdf,
    write_tei,
)
from datasets_src.generators.boletin.paper import Entry, Paper, Sentence
from datasets_src.generators.folders import SHIPPED
from datasets_src.generators.world import COMARCAS, YEARS

SEED = 11
FOLDER = SHIPPED / "boletin"
LATE = 0.3  # share of works with a print date one year later


class Kind(NamedTuple):
    """A paper format: file extension, language and writer."""

    ending: str
    language: str
    write: Callable[[Paper], bytes]


KINDS = (
    Kind(".xml", "es", write_jats),
    Kind(".tei.xml", "ca", write_tei),
    Kind(".cermxml", "en", write_cermine),
    Kind(".pdf", "es", write_pdf),
    Kind(".xml", "ca", write_jats),
)


def generate() -> dict[str, bytes]:
    """Contents of the files by name; deterministic on every machine."""
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
) -> tuple[Paper, list[dict[str, object]]]:
    """A paper that cites each theme's work, two together, four as a range, and an unknown one."""
    texts, places = TEXTS[language], rng.sample(COMARCAS, 2)
    slots = {"of": animal.of[language], "the": animal.the[language], "place": places[0]}
    entries: list[Entry] = []
    works: list[dict[str, object]] = []
    sentences: list[Sentence] = [(texts["intro"][1].format(**slots), ())]
    for number, theme in enumerate(THEMES):
        year = rng.choice(YEARS[:-1])
        for place in places:
            title = texts[theme][0].format(**{**slots, "place": place})
            works.append(_work(title, year, next(numbers), rng))
        entries.append(Entry(texts[theme][0].format(**slots), year))
        sentences.append((_sentence(theme, language, slots, rng), (number,)))
    entries.append(Entry(texts["lost"][0], rng.choice(YEARS)))
    sentences += [
        (_sentence("both", language, slots, rng), (0, 1)),
        (_sentence("all", language, slots, rng), (0, 1, 2, 3)),
        (_sentence("lost", language, slots, rng), (len(entries) - 1,)),
    ]
    title = texts["intro"][0].format(**slots)
    doi = f"10.5555/bol.{next(numbers)}"
    return Paper(title, language, doi, tuple(sentences), tuple(entries)), works


def _sentence(theme: str, language: str, slots: dict[str, str], rng: Random) -> str:
    more = {
        "food": rng.choice(FOODS[language]),
        "month": rng.choice(MONTHS[language]),
        "year": rng.choice(YEARS),
        "num": rng.randrange(120, 900),
        "few": rng.randrange(2, 30),
    }
    text = TEXTS[language][theme][1].format(**slots, **more, c="{c}")
    return text[0].upper() + text[1:]


def _work(title: str, year: int, number: int, rng: Random) -> dict[str, object]:
    """A work in Crossref's format: separate subtitle, print date possibly one year later."""
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
    """Write the files to FOLDER."""
    for name, data in generate().items():
        path = FOLDER / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(data)


if __name__ == "__main__":
    main()
