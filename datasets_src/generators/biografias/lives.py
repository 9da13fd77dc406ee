"""The invented lives of the biografias set: what a text tells of a person, and how to ask for it.

    Fact("nació en {}", "¿Dónde nació {}?", "pueblo")
    Elvira Ribalta nació en Valseca …      ¿Dónde nació Ribalta?

Nothing here is true of anybody. Surnames, villages and animals are those of the senderos set: the
pocket model knows their names, so an adapter learns to ask, not to spell.
"""

from random import Random
from typing import NamedTuple

from datasets_src.generators.senderos.facts import invent
from datasets_src.generators.senderos.generate import SEED
from datasets_src.generators.world import COMARCAS


class Fact(NamedTuple):
    """`told` has a slot for a value of `domain`, `asked` one for who it is about."""

    told: str
    asked: str
    domain: str


class Life(NamedTuple):
    """A person, and facts with their values in the order in which they are told."""

    first_name: str
    surname: str
    facts: tuple[tuple[Fact, str], ...]


# In the order of a life, which a text and its questions keep.
FACTS = (
    Fact("nació en {}", "¿Dónde nació {}?", "pueblo"),
    Fact("estudió {}", "¿Qué estudió {}?", "materia"),
    Fact("trabajó con {}", "¿Con quién trabajó {}?", "persona"),
    Fact("heredó {}", "¿Qué heredó {}?", "cosa"),
    Fact("se casó con {}", "¿Con quién se casó {}?", "persona"),
    Fact("viajó a {}", "¿A qué pueblo viajó {}?", "pueblo"),
    Fact("fundó {}", "¿Qué fundó {}?", "obra"),
    Fact("dibujó {}", "¿Qué animal dibujó {}?", "animal"),
    Fact("enseñó {}", "¿Qué enseñó {}?", "materia"),
    Fact("vendió {}", "¿Qué vendió {}?", "cosa"),
    Fact("escribió sobre {}", "¿Sobre qué animal escribió {}?", "animal"),
    Fact("dirigió {}", "¿Qué dirigió {}?", "obra"),
    Fact("murió en {}", "¿En qué pueblo murió {}?", "pueblo"),
)
FIRST_NAMES = ("Elvira", "Irene", "Marta", "Nuria", "Lola", "Pablo", "Simón", "Tomás", "Mateo")
DOMAINS = {
    "pueblo": tuple(row[1] for row in invent(Random(SEED)).rutas),
    "materia": ("botánica", "música", "historia", "medicina"),
    "persona": FIRST_NAMES,
    "cosa": ("un molino", "un taller", "una huerta", "una barca"),
    "obra": ("un museo", "una escuela", "una revista", "un coro"),
    "animal": (
        *("el buitre", "el mirlo", "el búho", "el corzo", "el rebeco", "el lirón", "el tritón"),
        *("la urraca", "la nutria", "la salamandra", "la víbora", "la culebra"),
    ),
}
SURNAMES = COMARCAS
