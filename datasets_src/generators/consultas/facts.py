"""The invented world of the consultas set: programmes, organisations, places and topics.

ORGANISATIONS[0].value        "Universitat de Vallobos", as a parsed query has it
ORGANISATIONS[0].texts["en"]  ("University of Vallobos",), as queries name it in English

Names and topics are single tokens of the pocket model, as in the senderos set: a model of that size
learns in a minute to copy a token from the query, not to spell a name. Topics are therefore animals
and plants with one name in all three languages.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

LANGUAGES = ("ca", "es", "en")
Texts = Mapping[str, tuple[str, ...]]


@dataclass(frozen=True)
class Choice:
    """A slot value. `kind` is an organisation's type or a place's level.

    `before` precedes each text: "de l'" for the Institut Bordanueva.
    """

    value: str
    texts: Texts = field(default_factory=dict)
    kind: str = ""
    before: Mapping[str, str] = field(default_factory=dict)


def _same(value: str, *others: str) -> Choice:
    """One name in every language."""
    return Choice(value, dict.fromkeys(LANGUAGES, (value, *others)))


def _each(value: str, ca: str, es: str, en: str) -> Choice:
    """One name per language."""
    return Choice(value, {"ca": (ca,), "es": (es,), "en": (en,)})


def _place(level: str, name: str, **others: str) -> Choice:
    """A place with its Spanish name as canonical; `others` are names by language."""
    texts = {code: (name, others[code]) if code in others else (name,) for code in LANGUAGES}
    return Choice(name, texts, level)


def _of(ca: str, es: str) -> Mapping[str, str]:
    return {"ca": ca, "es": es, "en": "by "}


def _organisation(named: Choice, es: str, en: str) -> Choice:
    """The organisation `named` in Catalan, with its Spanish and its English name."""
    return replace(named, texts={"ca": (named.value,), "es": (es,), "en": (en,)})


PROGRAMMES = (
    _same("Altotello", "Altotello 2030"),
    _same("Campoluz", "Campoluz 2030"),
    _same("Hoyamora", "Hoyamora Plus"),
)
ORGANISATIONS = (
    _organisation(
        Choice("Universitat de Vallobos", kind="university", before=_of("de la ", "de la ")),
        *("Universidad de Vallobos", "University of Vallobos"),
    ),
    _organisation(
        Choice("Institut Bordanueva", kind="research_center", before=_of("de l'", "del ")),
        *("Instituto Bordanueva", "Bordanueva Institute"),
    ),
    _organisation(
        Choice("Hospital de Peñaalta", kind="hospital", before=_of("de l'", "del ")),
        *("Hospital Peñaalta", "Peñaalta Hospital"),
    ),
    _organisation(
        Choice("Fundació Chozaparda", kind="ngo", before=_of("de la ", "de la ")),
        *("Fundación Chozaparda", "Chozaparda Foundation"),
    ),
)
PLACES = (
    _place("city", "Valdoro"),
    _place("province", "Fuensanta"),
    _place("region", "Umbría", ca="Ombria", en="Umbria"),
    _place("country", "Monteviejo"),
)
KINDS = (
    _each("university", "universitats", "universidades", "universities"),
    _each("company", "empreses", "empresas", "companies"),
    _each("research_center", "centres de recerca", "centros de investigación", "research centres"),
    _each("ngo", "fundacions", "fundaciones", "foundations"),
)
LEVELS = (
    _each("regional", "regionals", "regionales", "regional"),
    _each("national", "estatals", "estatales", "national"),
    _each("european", "europeus", "europeos", "European"),
)
TOPICS = tuple(
    _same(name) for name in ("acebo", "buitre", "culebra", "gallipato", "lagarto", "nutria")
)
YEARS = tuple(_same(str(year)) for year in range(2019, 2023))
COUNTS = tuple(_same(str(count)) for count in (3, 5, 7))
