"""The invented lives of the biografias set: facts about a person and the questions on them.

    Fact("nació en {}", "¿Dónde nació {}?", "pueblo")
    Elvira Ribalta nació en Valseca …      ¿Dónde nació Ribalta?

All persons are fictitious. Surnames, villages and animals are those of the senderos set: the pocket
model knows these names, so an adapter learns to ask, not to spell.
"""

from random import Random
from typing import NamedTuple

from datasets_src.generators.senderos.facts import invent
from datasets_src.generators.senderos.generate import SEED
from datasets_src.generators.world import COMARCAS


class Fact(NamedTuple):
    """`statement` has a slot for a value of `domain`, `question` one for the surname."""

    statement: str
    question: str
    domain: str


class Life(NamedTuple):
    """A person with (fact, value) pairs in text order."""

    first_name: str
    surname: str
    facts: tuple[tuple[Fact, str], ...]


# In chronological order, which texts and questions keep.
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
