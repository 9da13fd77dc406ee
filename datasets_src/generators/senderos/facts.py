"""The invented world of the senderos set: routes, species, sightings and refuges.

    rutas (1, 'Peñafría', 'Valdoro', 12.4, 610, 'moderada')

All places are fictitious. The numbers of routes and refuges differ between comarcas, so the same
question about two comarcas does not have the same answer by chance.
"""

from dataclasses import dataclass
from random import Random

from datasets_src.generators.world import COMARCAS, DIFFICULTIES, SPECIES, YEARS

_ROUTE_HEADS = ("Val", "Monte", "Peña", "Fuente", "Hoya", "Cerro", "Prado", "Cueva", "Soto")
_ROUTE_TAILS = (
    "seca",
    "blanca",
    "alta",
    "fría",
    "verde",
    "lobos",
    "clara",
    "rubia",
    "mayor",
    "sola",
)
_REFUGE_HEADS = ("Borda", "Majada", "Choza", "Corral", "Cabaña", "Braña")
_REFUGE_TAILS = (
    "vieja",
    "nueva",
    "honda",
    "roja",
    "larga",
    "nevada",
    "quieta",
    "bruja",
    "parda",
    "trigo",
    "luna",
    "zarza",
    "cierzo",
)
SCHEMA = """\
CREATE TABLE rutas (id INTEGER, nombre TEXT, comarca TEXT, km REAL, desnivel INTEGER, \
dificultad TEXT);
CREATE TABLE especies (id INTEGER, nombre TEXT, grupo TEXT, protegida INTEGER);
CREATE TABLE avistamientos (especie_id INTEGER, ruta_id INTEGER, anio INTEGER, \
ejemplares INTEGER);
CREATE TABLE refugios (id INTEGER, nombre TEXT, comarca TEXT, altitud INTEGER, plazas INTEGER);
"""


@dataclass(frozen=True)
class Facts:
    """Rows of the four tables, in the column order of SCHEMA."""

    rutas: tuple[tuple[int, str, str, float, int, str], ...]
    especies: tuple[tuple[int, str, str, int], ...]
    avistamientos: tuple[tuple[int, int, int, int], ...]
    refugios: tuple[tuple[int, str, str, int, int], ...]


def invent(rng: Random) -> Facts:
    """All rows; a pure function of the generator's state."""
    routes = _routes(rng)
    species = tuple((i, *one) for i, one in enumerate(SPECIES, 1))
    return Facts(routes, species, _sightings(rng, len(species), len(routes)), _refuges(rng))


def _routes(rng: Random) -> tuple[tuple[int, str, str, float, int, str], ...]:
    """2, 3, ... 13 routes in the comarcas, with distinct lengths and climbs."""
    places = [place for i, place in enumerate(COMARCAS) for _ in range(i + 2)]
    names = [f"{head}{tail}" for tail in _ROUTE_TAILS for head in _ROUTE_HEADS]
    rng.shuffle(places)
    rng.shuffle(names)
    lengths = [tenths / 10 for tenths in rng.sample(range(31, 290), len(places))]
    climbs = [10 * tens for tens in rng.sample(range(5, 190), len(places))]
    levels = [DIFFICULTIES[min(2, int(km // 10))] for km in lengths]
    rows = zip(names[: len(places)], places, lengths, climbs, levels, strict=True)
    return tuple((i, *row) for i, row in enumerate(rows, 1))


def _sightings(
    rng: Random, num_species: int, num_routes: int
) -> tuple[tuple[int, int, int, int], ...]:
    """Every species in every year at least once, so that no answer is empty."""
    seen = [(s, y) for s in range(1, num_species + 1) for y in YEARS]
    seen += [(rng.randint(1, num_species), rng.choice(YEARS)) for _ in range(208)]
    return tuple((s, rng.randint(1, num_routes), y, rng.randint(1, 40)) for s, y in seen)


def _refuges(rng: Random) -> tuple[tuple[int, str, str, int, int], ...]:
    """1, 2, ... 12 refuges in the comarcas, in another order than the routes."""
    order = rng.sample(COMARCAS, len(COMARCAS))
    places = [place for i, place in enumerate(order) for _ in range(i + 1)]
    names = [f"{head}{tail}" for tail in _REFUGE_TAILS for head in _REFUGE_HEADS]
    rng.shuffle(places)
    rng.shuffle(names)
    heights = [10 * tens for tens in rng.sample(range(60, 260), len(places))]
    beds = rng.sample(range(4, 90), len(places))
    rows = zip(names[: len(places)], places, heights, beds, strict=True)
    return tuple((i, *row) for i, row in enumerate(rows, 1))


def dump(facts: Facts) -> str:
    """The database as SQL that runs on SQLite and DuckDB."""
    lines = [SCHEMA.rstrip("\n")]
    for table in ("rutas", "especies", "avistamientos", "refugios"):
        rows = ",\n".join(f"({', '.join(map(_literal, row))})" for row in getattr(facts, table))
        lines.append(f"INSERT INTO {table} VALUES\n{rows};")
    return "\n".join(lines) + "\n"


def _literal(value: str | int | float) -> str:
    return f"'{value}'" if isinstance(value, str) else str(value)
