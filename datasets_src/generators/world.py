"""The invented world that the shipped sets share: places, years, species."""

# Each name is one word and one token of the pocket model: a model of that size learns in seconds to
# copy one token from the question, not to spell a name.
COMARCAS = (
    "Valdoro",
    "Calmera",
    "Monteviejo",
    "Brañeda",
    "Ribalta",
    "Altotello",
    "Umbría",
    "Campoluz",
    "Hoyamora",
    "Peñasca",
    "Fuensanta",
    "Ocredal",
)
DIFFICULTIES = ("fácil", "moderada", "difícil")
YEARS = (2019, 2020, 2021, 2022, 2023, 2024)
SPECIES = (
    ("buitre", "ave", 1),
    ("mirlo", "ave", 0),
    ("alcotán", "ave", 1),
    ("urraca", "ave", 0),
    ("búho", "ave", 1),
    ("corzo", "mamífero", 0),
    ("nutria", "mamífero", 1),
    ("rebeco", "mamífero", 0),
    ("jabalí", "mamífero", 0),
    ("lirón", "mamífero", 1),
    ("gallipato", "anfibio", 1),
    ("salamandra", "anfibio", 0),
    ("sapillo", "anfibio", 0),
    ("tritón", "anfibio", 1),
    ("lagarto", "reptil", 0),
    ("víbora", "reptil", 0),
    ("culebra", "reptil", 1),
    ("galápago", "reptil", 1),
    ("acebo", "planta", 1),
    ("tejo", "planta", 1),
    ("genciana", "planta", 0),
    ("narciso", "planta", 0),
)
