"""The topics of the fuero set's articles: sentence, answer, values and question wordings.

    Topic("plazas", "En {comarca} cada refugio tiene {value} plazas.", "{value} plazas", BEDS,
          ("¿Cuántas plazas tiene el refugio de {comarca}?", ...))

The last wording of a topic is held out for validation.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from datasets_src.generators.world import DIFFICULTIES, SPECIES, YEARS


@dataclass(frozen=True)
class Topic:
    """`article` and `answer` have the slots {comarca} and {value}; `values` are its range."""

    name: str
    article: str
    answer: str
    values: Sequence[str]
    wordings: tuple[str, ...]

    @property
    def train_wordings(self) -> tuple[str, ...]:
        return self.wordings[:-1]

    @property
    def validation_wordings(self) -> tuple[str, ...]:
        return self.wordings[-1:]


def _numbers(low: int, high: int, step: int) -> tuple[str, ...]:
    return tuple(map(str, range(low, high + 1, step)))


TOPICS = (
    Topic(
        "plazas",
        "En {comarca} cada refugio tiene {value} plazas.",
        "{value} plazas",
        _numbers(6, 24, 2),
        (
            "¿Cuántas plazas tiene un refugio de {comarca}?",
            "Plazas de cada refugio de {comarca}",
            "Dime las plazas de un refugio en {comarca}",
            "¿Cuántas plazas hay en cada refugio de {comarca}?",
        ),
    ),
    Topic(
        "noche",
        "En {comarca} la noche se pasa a menos de {value} m de altitud.",
        "{value} m",
        _numbers(800, 2200, 200),
        (
            "¿A qué altitud máxima se pasa la noche en {comarca}?",
            "Altitud máxima de noche en {comarca}",
            "Dime la altitud máxima para pasar la noche en {comarca}",
            "¿Qué altitud máxima hay para pasar la noche en {comarca}?",
        ),
    ),
    Topic(
        "longitud",
        "En {comarca} las rutas miden menos de {value} km.",
        "{value} km",
        _numbers(6, 24, 2),
        (
            "¿Cuánto miden como máximo las rutas de {comarca}?",
            "Longitud máxima de las rutas de {comarca}",
            "Dime la longitud máxima de una ruta en {comarca}",
            "¿Qué longitud máxima tiene una ruta de {comarca}?",
        ),
    ),
    Topic(
        "desnivel",
        "En {comarca} el desnivel de una ruta es de {value} m como máximo.",
        "{value} m",
        _numbers(300, 1500, 200),
        (
            "¿Qué desnivel tienen como máximo las rutas de {comarca}?",
            "Desnivel máximo de las rutas de {comarca}",
            "Dime el desnivel máximo de una ruta en {comarca}",
            "¿Qué desnivel máximo tiene una ruta de {comarca}?",
        ),
    ),
    Topic(
        "grupo",
        "En {comarca} un grupo pasa con menos de {value} mulas.",
        "{value} mulas",
        _numbers(6, 24, 2),
        (
            "¿Con cuántas mulas pasa un grupo por {comarca}?",
            "Mulas de un grupo en {comarca}",
            "Dime cuántas mulas tiene como máximo un grupo en {comarca}",
            "¿Cuántas mulas pasan con un grupo por {comarca}?",
        ),
    ),
    Topic(
        "especie",
        "En {comarca} está protegida la especie {value}.",
        "La especie {value}",
        tuple(name for name, _, _ in SPECIES),
        (
            "¿Qué especie está protegida en {comarca}?",
            "Especie protegida de {comarca}",
            "Dime qué especie está protegida en {comarca}",
            "¿Cuál es la especie protegida de {comarca}?",
        ),
    ),
    Topic(
        "ejemplares",
        "En {comarca} se cogen {value} ejemplares por año.",
        "{value} ejemplares",
        _numbers(2, 7, 1),
        (
            "¿Cuántos ejemplares se cogen por año en {comarca}?",
            "Ejemplares por año en {comarca}",
            "Dime cuántos ejemplares se cogen en {comarca}",
            "¿Cuántos ejemplares se cogen en {comarca} cada año?",
        ),
    ),
    Topic(
        "precio",
        "En {comarca} el precio de una plaza es de {value} reales.",
        "{value} reales",
        _numbers(6, 24, 2),
        (
            "¿Qué precio tiene una plaza en {comarca}?",
            "Precio de una plaza en {comarca}",
            "Dime cuánto cuesta una plaza en {comarca}",
            "¿Cuánto cuesta una plaza de {comarca}?",
        ),
    ),
    Topic(
        "desde",
        "En {comarca} no pasa el autobús desde el año {value}.",
        "Desde {value}",
        tuple(map(str, YEARS)),
        (
            "¿Desde qué año no pasa el autobús de {comarca}?",
            "Año en que no pasa el autobús de {comarca}",
            "Dime desde qué año no hay autobús en {comarca}",
            "¿Desde qué año no hay autobús de {comarca}?",
        ),
    ),
    Topic(
        "dificultad",
        "En {comarca} las rutas son de dificultad {value}.",
        "Dificultad {value}",
        DIFFICULTIES,
        (
            "¿De qué dificultad son las rutas de {comarca}?",
            "Dificultad de las rutas de {comarca}",
            "Dime la dificultad de una ruta en {comarca}",
            "¿Qué dificultad tienen las rutas de {comarca}?",
        ),
    ),
)
# Questions on a whole page.
LISTS = Topic(
    "lista",
    "",
    "",
    (),
    (
        "¿Qué artículos son?",
        "Dime qué artículos son",
        "Lista los artículos",
        "Dime los artículos que hay",
    ),
)
