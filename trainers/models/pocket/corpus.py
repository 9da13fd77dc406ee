"""The pretraining corpus of the pocket model: Spanish sentences and easy requests.

    prose      La ruta Peñafría pasa por Ribalta, mide 12.4 km y es moderada.
    dialogue   [{"role": "user", "content": schema + "\\n\\n" + question},
                {"role": "assistant", "content": sql}]

A few request families occur in their training wordings, others only as keywords, and none with the
slots of a validation group: something is left for an adapter to learn, and nothing leaks.
"""

import json
from collections.abc import Mapping
from random import Random

from datasets_src.generators.senderos import generate
from datasets_src.generators.senderos.facts import SCHEMA, Facts, invent
from datasets_src.generators.senderos.families import FAMILIES
from datasets_src.generators.senderos.family import Choice, Family, domains
from datasets_src.types import Message

# Families whose natural (training) wordings the pocket model learns.
NATURAL = (
    "contar_rutas",
    "rutas_largas",
    "ruta_extrema",
    "refugios_altos",
    "especies_grupo",
    "fuera_tiempo",
)
# Families that occur only as keywords, in any order: they teach the SQL and where its slots come
# from, and leave the Spanish to the adapter.
KEYWORDS = {
    "rutas_cortas": ("rutas", "{nivel}", "menos", "{km}"),
    "media_rutas": ("rutas", "media", "{medida}", "{comarca}"),
    "primeras_rutas": ("primeras", "{cuantas}", "rutas", "{nivel}", "{medida}"),
    "desnivel_entre": ("rutas", "{comarca}", "desnivel", "máximo", "{desnivel}"),
    "medida_ruta": ("{medida}", "ruta", "{ruta}"),
    "plazas_comarca": ("suma", "plazas", "refugios", "{comarca}"),
    "dato_refugio": ("{dato}", "refugio", "{refugio}"),
    "comarcas_con_mas": ("comarcas", "más", "{cuantas}", "{tabla}"),
    "ejemplares_anio": ("ejemplares", "{especie}", "{anio}"),
    "avistamientos_por_anio": ("avistamientos", "{especie}", "año"),
    "especies_en_ruta": ("especies", "vistas", "ruta", "{ruta}"),
    "rutas_con_especie": ("rutas", "visto", "{especie}"),
    "fuera_precio": ("precio", "refugio", "{refugio}"),
}
SHARE_DROPPED = 0.15  # share of non-slot words dropped, so that no exact wording is memorised
DATA_FILE = generate.FOLDER / "text2sql.jsonl"
Request = tuple[str, str]  # question, SQL


def prose(facts: Facts) -> list[str]:
    """One or two sentences per row of the database."""
    texts = [
        f"La ruta {name} pasa por {place}, mide {km} km, tiene {climb} m de desnivel y es {level}."
        for _, name, place, km, climb, level in facts.rutas
    ]
    texts += [
        f"{name} está en {place}, a una altitud de {height} m, y tiene {beds} plazas."
        for _, name, place, height, beds in facts.refugios
    ]
    texts += [
        f"La especie {name} es del grupo {group} y {'está' if guarded else 'no está'} protegida."
        for _, name, group, guarded in facts.especies
    ]
    texts += [
        f"En {year} se vieron {count} ejemplares de {facts.especies[species - 1][1]} "
        f"en la ruta {facts.rutas[route - 1][1]}."
        for species, route, year, count in facts.avistamientos
    ]
    return texts


def known_requests(rng: Random, *, count: int) -> list[Request]:
    """`count` requests with random slots, none of a validation group."""
    values = domains(world())
    held_out = {row["group"] for row in shipped_rows() if row["split"] == "validation"}
    families = [family for family in FAMILIES if family.name in (*NATURAL, *KEYWORDS)]
    requests: list[Request] = []
    while len(requests) < count:
        family = rng.choice(families)
        slots = _draw(family, values, rng)
        if generate.group_of(family, slots) not in held_out:
            row = generate.make_row(family, slots, _wording(family, rng), "train")
            requests.append((row["question"], row["sql"]))
    return requests


def _wording(family: Family, rng: Random) -> str:
    """A natural wording with a few words dropped, or the keywords in random order."""
    if family.name in KEYWORDS:
        return " ".join(rng.sample(KEYWORDS[family.name], len(KEYWORDS[family.name])))
    words = rng.choice(family.train_wordings).split()
    return " ".join(word for word in words if "{" in word or rng.random() > SHARE_DROPPED)


def _draw(
    family: Family, values: Mapping[str, tuple[Choice, ...]], rng: Random
) -> dict[str, Choice]:
    return {name: rng.choice(values[domain]) for name, domain in family.slots.items()}


def world() -> Facts:
    """The invented facts of the shipped set."""
    return invent(Random(generate.SEED))


def shipped_rows() -> list[dict[str, str]]:
    """Rows of the committed text2sql.jsonl."""
    return [json.loads(line) for line in DATA_FILE.read_text(encoding="utf-8").splitlines()]


def dialogue(request: Request) -> list[Message]:
    """A user turn with schema and question, as in the task's prompt, and the SQL as the reply."""
    question, sql = request
    return [
        {"role": "user", "content": f"{SCHEMA.strip()}\n\n{question}"},
        {"role": "assistant", "content": sql},
    ]


def tokenizer_texts() -> list[str]:
    """Training text of the tokenizer: prose, schema, and the training rows of every family."""
    rows = [row for row in shipped_rows() if row["split"] == "train"]
    values = [text for choices in domains(world()).values() for text, _ in choices]
    keywords = [word for words in KEYWORDS.values() for word in words if "{" not in word]
    return [
        *prose(world()),
        *keywords * 10,
        *(
            f"en {value}" if value.isdigit() else f"en {value} '{value}'"
            for value in values
            for _ in range(40)
        ),  # one token each
        *[SCHEMA, "system", "user", "assistant"] * 20,
        *(text for row in rows for text in (row["question"], row["sql"])),
    ]
