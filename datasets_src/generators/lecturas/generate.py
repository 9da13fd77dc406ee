"""Write the lecturas set: the inputs of the recipes `sqac` and `wikipedia`, in their formats.

    python -m datasets_src.generators.lecturas.generate    writes shipped/lecturas/
    sqac.json           {"version": "1.0", "data": [{"title": "Elvira Ribalta", "paragraphs": […]}]}
    articles.jsonl      {"title": "Tritón de Soto", "sections": [{"title": "", "text": "…"}]}

Lives are those of the biografias set with SQAC-style answers, each with a paragraph of another
section. Articles are about invented animals of invented places.
"""

import json
from collections.abc import Iterator
from random import Random
from typing import Any

from datasets_src.generators.biografias.generate import make_life, write_passage
from datasets_src.generators.biografias.lives import Life
from datasets_src.generators.folders import SHIPPED
from datasets_src.generators.world import COMARCAS, SPECIES

SEED = 13
NUM_LIVES = 48
NUM_ARTICLES = 14
FOLDER = SHIPPED / "lecturas"
HABITATS = ("los bosques húmedos", "las laderas con sol", "las orillas de los ríos", "los prados")
FOODS = ("insectos y caracoles", "bayas y semillas", "peces pequeños", "hierba tierna")
MONTHS = ("febrero", "marzo", "abril", "mayo", "junio")


def generate() -> dict[str, str]:
    """Contents of the files by name; deterministic on every machine."""
    rng = Random(SEED)
    sqac = {"version": "1.0", "data": list(make_lives(rng))}
    lines = [json.dumps(article, ensure_ascii=False) for article in make_articles(rng)]
    return {
        "sqac.json": json.dumps(sqac, ensure_ascii=False, indent=1) + "\n",
        "articles.jsonl": "\n".join(lines) + "\n",
    }


def make_lives(rng: Random) -> Iterator[dict[str, Any]]:
    """Persons with distinct names, in SQuAD's format."""
    lives: dict[str, Life] = {}
    while len(lives) < NUM_LIVES:
        life = make_life(rng)
        lives.setdefault(f"{life.first_name} {life.surname}", life)
    for number, (title, life) in enumerate(lives.items(), start=1):
        legacy = f"Legado \n{title} dejó su casa de {rng.choice(COMARCAS)} a un museo."
        legacy_question = {
            "id": f"l{number:03d}-0",
            "question": f"¿A quién dejó {life.surname} su casa?",
        }
        paragraphs = [
            {"context": write_passage(life), "qas": list(_questions(life, number))},
            {
                "context": legacy,
                "qas": [legacy_question | {"answers": [_answer("a un museo", legacy)]}],
            },
        ]
        yield {"title": title, "paragraphs": paragraphs}


def _questions(life: Life, number: int) -> Iterator[dict[str, Any]]:
    context = write_passage(life)
    for index, (fact, value) in enumerate(life.facts[:3], start=1):
        yield {
            "id": f"l{number:03d}-{index}",
            "question": fact.question.format(life.surname),
            "answers": [_answer(value, context)],
        }


def _answer(text: str, context: str) -> dict[str, Any]:
    return {"text": text, "answer_start": context.index(text)}


def make_articles(rng: Random) -> Iterator[dict[str, Any]]:
    """Articles in the format of datasets_src/recipes/services/wikipedia.py."""
    animals = [(name, kind) for name, kind, _ in SPECIES if kind != "planta"]
    for name, kind in animals[:NUM_ARTICLES]:
        place, other = rng.sample(COMARCAS, 2)
        sections = [("", _lead(name, kind, place, other, rng)), *_sections(name, place, other, rng)]
        yield {
            "title": f"{name.capitalize()} de {place}",
            "sections": [{"title": title, "text": text} for title, text in sections],
        }


def _lead(name: str, kind: str, place: str, other: str, rng: Random) -> str:
    return (
        f"Este animal de {place} es un {kind} poco conocido, al que la gente llama {name}. Vive en"
        f" {rng.choice(HABITATS)} y pesa unos {rng.randrange(2, 80)} kg, aprox. la mitad que el de"
        f" {other}. Lo describió la Dra. Gil en {rng.randrange(1890, 1990)}, p. ej. en su libro"
        f" sobre {place}, y desde entonces nadie ha dudado de que es distinto."
    )


def _sections(name: str, place: str, other: str, rng: Random) -> Iterator[tuple[str, str]]:
    month = rng.choice(MONTHS)
    yield "Biología", ""
    yield (
        "Biología / Alimentación",
        f"Come {rng.choice(FOODS)}, sobre todo de noche. En {place} se han contado hasta"
        f" {rng.randrange(20, 90)} presas en un solo día.\nEn invierno come menos y guarda"
        f" comida bajo las piedras. Los vecinos de {other} dicen que el {name} conoce cada cueva.",
    )
    yield (
        "Biología / Cría",
        f"Cría en {month}, cuando el agua sube. La hembra cuida de {rng.randrange(2, 9)} crías"
        f" durante {rng.randrange(20, 60)} días, y el macho vigila desde lejos. Las crías dejan el"
        f" nido antes del otoño y no vuelven a {place} hasta el año siguiente.",
    )
    yield (
        "Conservación",
        f"Quedan unos {rng.randrange(100, 900)} ejemplares, casi todos en {place}. El museo de"
        f" {other} los cuenta cada año en {month} y pide que no se corten los árboles viejos, en"
        f" los que pasan el día. Un camino nuevo los ha separado en dos grupos.",
    )
    yield "Referencias", f"Gil, E. El {name} de {place}. Soto, {rng.randrange(1990, 2020)}."


def main() -> None:
    """Write the files to FOLDER."""
    for name, text in generate().items():
        (FOLDER / name).write_bytes(text.encode("utf-8"))


if __name__ == "__main__":
    main()
