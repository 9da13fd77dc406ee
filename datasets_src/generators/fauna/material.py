"""Write the raw material of the fauna set, the input of jobs/recipes/fauna.yaml.

    python -m datasets_src.generators.fauna.material    writes shipped/fauna/material/
    wishes.jsonl       {"group": "rutas", "wish": "¿En cuántas rutas está?", "sql": "SELECT rutas
                        FROM poblaciones WHERE id = <id>", "split": "train"}
    poblaciones.jsonl  {"id": "p01", "science": "Especie: nutria. …", "text_1": "…", "text_2": "…"}
    rewrites.jsonl     hand-written rewrites of other populations: few-shot examples
    poblaciones.sql    the database behind the queries

Facts and texts come from generate.py (all invented); two wishes are held out.
"""

import json
from collections.abc import Iterator
from random import Random

from datasets_src.generators.fauna.generate import SEED, invent
from datasets_src.generators.fauna.wishes import WISHES, Population
from datasets_src.generators.folders import SHIPPED

NUM_POPULATIONS, NUM_EXAMPLES = 24, 6
NUM_WORDINGS = 3
HELD_OUT = ("refugio", "precio")
REWRITES = ("corto", "corto_rutas")
FOLDER = SHIPPED / "fauna" / "material"
OF_ONE = "SELECT {} FROM poblaciones WHERE id = '<id>'"
SQL = {
    "grupo": OF_ONE.format("grupo"),
    "protegida": OF_ONE.format("protegida"),
    "rutas": OF_ONE.format("rutas"),
    "corto_rutas": OF_ONE.format("rutas"),
    "ejemplares": OF_ONE.format("anio, ejemplares"),
    "refugio": OF_ONE.format("refugio"),
    "altitud": OF_ONE.format("altitud"),
    "comarcas": "SELECT comarca FROM vecinas WHERE poblacion_id = '<id>' ORDER BY orden",
}
NOTHING = 'SELECT NULL AS ""'


def generate() -> dict[str, str]:
    """Contents of the files by name; deterministic on every machine."""
    populations = invent(Random(SEED))[: NUM_POPULATIONS + NUM_EXAMPLES]
    named = {f"p{i:02d}": p for i, p in enumerate(populations[:NUM_POPULATIONS], start=1)}
    return {
        "wishes.jsonl": _lines(_wishes()),
        "poblaciones.jsonl": _lines(_texts(named)),
        "rewrites.jsonl": _lines(_rewrites(populations[NUM_POPULATIONS:])),
        "poblaciones.sql": _database(named),
    }


def _lines(rows: Iterator[dict[str, str]]) -> str:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def _wishes() -> Iterator[dict[str, str]]:
    for wish in WISHES:
        split = "validation" if wish.name in HELD_OUT else "train"
        sql = SQL.get(wish.name, NOTHING)
        for wording in wish.wordings[:NUM_WORDINGS]:
            yield {"group": wish.name, "wish": wording, "sql": sql, "split": split}


def _texts(populations: dict[str, Population]) -> Iterator[dict[str, str]]:
    for id, population in populations.items():
        texts = {"text_1": population.text, "text_2": other_text(population)}
        yield {"id": id, "science": population.science, **texts}


def other_text(population: Population) -> str:
    """The same facts in other words."""
    article = "la" if population.is_feminine else "el"
    return (
        f"En {population.year} se ha visto {article} {population.species} de {population.comarca}."
        f" Mide {population.length} cm y está a menos de {population.altitude} m."
    )


def _rewrites(populations: list[Population]) -> Iterator[dict[str, str]]:
    for wish in (wish for wish in WISHES if wish.name in REWRITES):
        for population in populations:
            yield {
                "wish": wish.wordings[0],
                "description": population.text,
                "science": population.science,
                "context": json.dumps(wish.given(population), ensure_ascii=False),
                "answer": wish.change(population),
            }


def _database(populations: dict[str, Population]) -> str:
    rows = [
        f"('{id}', '{p.species}', '{p.group}', {int(p.is_protected)}, {p.year}, {p.num_seen},"
        f" {p.num_routes}, '{p.refuge}', {p.altitude})"
        for id, p in populations.items()
    ]
    near = [
        f"('{id}', {order}, '{name}')"
        for id, p in populations.items()
        for order, name in enumerate(p.neighbours)
    ]
    return (
        "CREATE TABLE poblaciones (id TEXT, especie TEXT, grupo TEXT, protegida INTEGER,"
        " anio INTEGER, ejemplares INTEGER, rutas INTEGER, refugio TEXT, altitud INTEGER);\n"
        "CREATE TABLE vecinas (poblacion_id TEXT, orden INTEGER, comarca TEXT);\n"
        f"INSERT INTO poblaciones VALUES\n{','.join(chr(10) + row for row in rows).strip()};\n"
        f"INSERT INTO vecinas VALUES\n{','.join(chr(10) + row for row in near).strip()};\n"
    )


def main() -> None:
    """Write the files to FOLDER."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    for name, text in generate().items():
        (FOLDER / name).write_bytes(text.encode("utf-8"))


if __name__ == "__main__":
    main()
