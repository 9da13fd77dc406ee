"""The wishes of the fauna set: database rows, the change to the text, and the wordings.

    Wish("rutas", given=lambda p: [{"rutas": p.num_routes}],
         change=lambda p: f"{p.text} Se ha visto en {p.num_routes} rutas.",
         wordings=("Añade en cuántas rutas se ha visto", ...))

As in BioSenda's set, wishes add a prefix or suffix, rewrite the text, or leave it unchanged if the
database has no answer. The last two wordings of a wish are held out for validation.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

NUM_HELD_OUT_WORDINGS = 2
NOTHING: list[dict[str, Any]] = [{"": None}]  # the result of `SELECT NULL`


@dataclass(frozen=True)
class Population:
    """A fictitious population of a species in a comarca."""

    species: str
    group: str
    is_feminine: bool
    is_protected: bool
    comarca: str
    neighbours: tuple[str, str]
    length: int
    altitude: int
    year: int
    num_seen: int
    num_routes: int
    refuge: str

    @property
    def opening(self) -> str:
        """The first sentence of the text."""
        article = "La" if self.is_feminine else "El"
        return f"{article} {self.species} de {self.comarca} mide {self.length} cm."

    @property
    def text(self) -> str:
        """The description to adapt."""
        return f"{self.opening} Está a menos de {self.altitude} m y se ha visto en {self.year}."

    @property
    def science(self) -> str:
        """The scientific description, as a list of attributes."""
        return f"Especie: {self.species}. Grupo: {self.group}. Altitud: {self.altitude} m."


@dataclass(frozen=True)
class Wish:
    """`given` returns the database rows of a population, `change` the target text."""

    name: str
    given: Callable[[Population], list[dict[str, Any]]]
    change: Callable[[Population], str]
    wordings: tuple[str, ...]

    @property
    def train_wordings(self) -> tuple[str, ...]:
        return self.wordings[:-NUM_HELD_OUT_WORDINGS]

    @property
    def validation_wordings(self) -> tuple[str, ...]:
        return self.wordings[-NUM_HELD_OUT_WORDINGS:]


def nothing(population: Population) -> list[dict[str, Any]]:
    """Rows of a wish that the database cannot answer."""
    return NOTHING


def routes(population: Population) -> list[dict[str, Any]]:
    """The number of routes where the population was seen."""
    return [{"rutas": population.num_routes}]


WISHES = (
    Wish(
        "grupo",
        lambda p: [{"grupo": p.group}],
        lambda p: f"Grupo {p.group}. {p.text}",
        (
            "Pon el grupo de la especie primero",
            "Antes de nada, el grupo",
            "Primero el grupo de la especie y luego el texto",
            "Dime el grupo antes que nada",
            "El grupo de la especie, por favor, al principio",
            "Pon primero el grupo",
            "Antes que nada dime el grupo de la especie",
        ),
    ),
    Wish(
        "protegida",
        lambda p: [{"protegida": int(p.is_protected)}],
        lambda p: f"Especie {'protegida' if p.is_protected else 'sin proteger'}. {p.text}",
        (
            "Pon primero si está protegida",
            "Antes de nada, si la especie está protegida",
            "Dime primero si es una especie protegida",
            "¿Está protegida? Ponlo al principio",
            "Al principio di si está protegida o sin proteger",
            "Dime antes de nada si está protegida",
            "Pon al principio si es una especie protegida",
        ),
    ),
    Wish(
        "rutas",
        routes,
        lambda p: f"{p.text} Está en {p.num_routes} rutas.",
        (
            "Di al final en cuántas rutas está",
            "¿En cuántas rutas está?",
            "Dime en cuántas rutas está",
            "Luego di el total de rutas",
            "El total de rutas, al final",
            "Di al final el total de rutas",
            "¿En cuántas rutas está la especie?",
        ),
    ),
    Wish(
        "ejemplares",
        lambda p: [{"anio": p.year, "ejemplares": p.num_seen}],
        lambda p: f"{p.text} En {p.year} se vieron {p.num_seen} ejemplares.",
        (
            "Di cuántos ejemplares se vieron",
            "¿Cuántos ejemplares se vieron ese año?",
            "Dime los ejemplares que se vieron en el año",
            "Suma los ejemplares al final",
            "Al final, cuántos ejemplares se vieron",
            "Dime cuántos ejemplares se vieron ese año",
            "¿Cuántos ejemplares se vieron?",
        ),
    ),
    Wish(
        "refugio",
        lambda p: [{"refugio": p.refuge}],
        lambda p: f"{p.text} Tiene el refugio {p.refuge}.",
        (
            "¿Qué refugio tiene?",
            "Dime el refugio que tiene",
            "Di al final qué refugio tiene",
            "El refugio, al final del texto",
            "Luego pon el refugio",
            "Dime al final el refugio",
            "Di qué refugio tiene",
        ),
    ),
    Wish(
        "comarcas",
        lambda p: [{"comarca": name} for name in p.neighbours],
        lambda p: f"{p.text} Está en {p.neighbours[0]} y en {p.neighbours[1]}.",
        (
            "Di al final en qué comarcas está",
            "¿En qué comarcas más está?",
            "Lista al final las comarcas",
            "Dime las comarcas donde está",
            "Pon luego las comarcas",
            "Dime al final las comarcas",
            "¿En qué comarcas está?",
        ),
    ),
    Wish(
        "altitud",
        nothing,
        lambda p: f"{p.text} Altitud: {p.altitude} m.",
        (
            "Pon la altitud al final",
            "Luego di la altitud",
            "¿Qué altitud tiene?",
            "Dime al final la altitud",
            "La altitud, al final del texto",
            "Di al final la altitud",
            "Pon luego la altitud",
        ),
    ),
    Wish(
        "corto",
        nothing,
        lambda p: p.opening,
        (
            "Menos texto, por favor",
            "Dime solo lo primero",
            "Que tenga menos texto",
            "Pon solo lo primero del texto",
            "Un texto de menos longitud",
            "Dime solo lo primero del texto",
            "Por favor, que tenga menos texto",
        ),
    ),
    Wish(
        "corto_rutas",
        routes,
        lambda p: f"{p.opening} Está en {p.num_routes} rutas.",
        (
            "Menos texto y el total de rutas",
            "Dime solo lo primero y en cuántas rutas está",
            "Que tenga menos texto y las rutas al final",
            "Pon solo lo primero, y luego en cuántas rutas está",
            "Un texto de menos longitud con el total de rutas",
            "Menos texto, y al final en cuántas rutas está",
            "Pon solo lo primero y el total de rutas",
        ),
    ),
    Wish(
        "tiempo",
        nothing,
        lambda p: p.text,
        (
            "¿Qué tiempo va a hacer hoy?",
            "Dime el tiempo de mañana",
            "Di al final qué tiempo hace",
            "El tiempo del sábado, por favor",
            "¿Hace buen tiempo mañana?",
            "¿Qué tiempo hace hoy?",
            "Di al final el tiempo de mañana",
        ),
    ),
    Wish(
        "precio",
        nothing,
        lambda p: p.text,
        (
            "¿Qué precio tiene?",
            "Pon el precio al final",
            "Dime cuánto cuesta",
            "Luego di el precio",
            "El precio, por favor",
            "Dime el precio",
            "Di al final cuánto cuesta",
        ),
    ),
)
