"""The type of a query family of the senderos set, and the values of its slots.

    Family("contar_rutas", {"comarca": "comarca"}, "SELECT COUNT(*) FROM rutas WHERE ...",
           ("¿Cuántas rutas hay en {comarca}?", ...))

The last two wordings of a family are held out for validation.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from datasets_src.generators.senderos.facts import Facts
from datasets_src.generators.world import COMARCAS, SPECIES, YEARS

NUM_HELD_OUT_WORDINGS = 2
Choice = tuple[str, str]  # (text in the question, text in the SQL)


@dataclass(frozen=True)
class Family:
    """`slots`: field of the templates -> domain it is filled from (see `domains`)."""

    name: str
    slots: dict[str, str]
    sql: str
    wordings: tuple[str, ...]

    @property
    def train_wordings(self) -> tuple[str, ...]:
        return self.wordings[:-NUM_HELD_OUT_WORDINGS]

    @property
    def validation_wordings(self) -> tuple[str, ...]:
        return self.wordings[-NUM_HELD_OUT_WORDINGS:]


def domains(facts: Facts) -> dict[str, tuple[Choice, ...]]:
    """Values of each slot domain, few enough that every value occurs in training."""
    return {
        "comarca": _same(COMARCAS),
        "especie": _same(name for i, (name, _, _) in enumerate(SPECIES) if i % 2 == 0),
        "ruta": _same(row[1] for row in facts.rutas[:12]),
        "refugio": _same(row[1] for row in facts.refugios[:12]),
        "anio": _same(map(str, YEARS)),
        "km": _same(map(str, range(6, 25, 2))),
        "cuantas": _same(map(str, range(2, 8))),
        "altitud": _same(map(str, range(800, 2300, 200))),
        "desnivel": _same(map(str, range(300, 1600, 200))),
        "medida": (("longitud", "km"), ("desnivel", "desnivel")),
        "dato": (("plazas", "plazas"), ("altitud", "altitud")),
        "tabla": (("rutas", "rutas"), ("refugios", "refugios")),
        "nivel": (("fáciles", "fácil"), ("moderadas", "moderada"), ("difíciles", "difícil")),
        "grupo": (
            ("aves", "ave"),
            ("mamíferos", "mamífero"),
            ("anfibios", "anfibio"),
            ("reptiles", "reptil"),
            ("plantas", "planta"),
        ),
        "amparo": (("protegidas", "1"), ("sin proteger", "0")),
        "dia": _same(("hoy", "mañana", "el sábado", "el domingo")),
    }


def _same(texts: Iterable[str]) -> tuple[Choice, ...]:
    return tuple((text, text) for text in texts)
