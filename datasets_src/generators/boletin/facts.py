"""Texts of the fictitious papers of the boletin set, in Spanish, Catalan and English.

    TEXTS["es"]["diet"]     ("Dieta {of} en {place}", "En {place} {the} come sobre todo {food}{c}.")

The first is the title of a cited work, the second the sentence that cites it at {c}. Sentences have
many full stops that do not end them: "p. ej.", "et al.", "fig. 2", "3.5 %".
"""

from typing import NamedTuple


class Animal(NamedTuple):
    """Its name by language with preposition and article: "del tritón" and "el tritón"."""

    of: dict[str, str]
    the: dict[str, str]


def _animal(es: str, ca: str, en: str) -> Animal:
    of_es = es.replace("el ", "del ") if es.startswith("el ") else f"de {es}"
    of_ca = ca.replace("el ", "del ") if ca.startswith("el ") else f"de {ca}"
    the = {"es": es, "ca": ca, "en": f"the {en}"}
    return Animal({"es": of_es, "ca": of_ca, "en": f"of the {en}"}, the)


ANIMALS = (
    _animal("el tritón", "el tritó", "newt"),
    _animal("la nutria", "la llúdriga", "otter"),
    _animal("el corzo", "el cabirol", "roe deer"),
    _animal("el mirlo", "la merla", "blackbird"),
    _animal("el lirón", "el liró", "dormouse"),
    _animal("la víbora", "l'escurçó", "viper"),
    _animal("el rebeco", "l'isard", "chamois"),
    _animal("la salamandra", "la salamandra", "salamander"),
    _animal("el galápago", "la tortuga", "terrapin"),
    _animal("el búho", "el duc", "owl"),
)
FOODS = {
    "es": ("caracoles", "bayas", "insectos", "peces"),
    "ca": ("cargols", "baies", "insectes", "peixos"),
    "en": ("snails", "berries", "insects", "fish"),
}
MONTHS = {
    "es": ("febrero", "marzo", "abril", "mayo"),
    "ca": ("febrer", "març", "juny", "maig"),
    "en": ("February", "March", "April", "May"),
}
TEXTS = {
    "es": {
        "diet": ("Dieta {of} en {place}", "En {place} {the} come sobre todo {food}{c}."),
        "census": (
            "Censo {of} en {place}: métodos y resultados",
            "Unos {num} ejemplares vivían en {place} en {year}, un {few}.5 % más que antes{c}.",
        ),
        "breeding": (
            "La cría {of} en {place}",
            "Cría en {month}, p. ej. en los arroyos de {place}, y cf. la fig. 2 en mayo{c}.",
        ),
        "parasites": (
            "Parásitos {of} de {place}",
            "Ruiz et al. (2018) hallaron parásitos en el {few},2 % de los animales de {place}{c}.",
        ),
        "habitat": (
            "Hábitat {of} en {place}: un modelo",
            "En {place}, {the} prefiere los bosques por debajo de 1.{num} m (véase la tab. 1){c}.",
        ),
        "intro": ("El estudio {of} en {place}", "El estudio {of} no es nuevo."),
        "both": ("", "Dieta y censo de {place} dependen del agua, al menos en {month}{c}."),
        "all": ("", "Otros trabajos sobre {place} y su comarca llegan a lo mismo{c}."),
        "lost": (
            "Memoria inédita del museo de Soto",
            "Nadie más lo ha visto en {place} desde {year}{c}.",
        ),
        "heading": ("Referencias", "Introducción"),
    },
    "ca": {
        "diet": ("Dieta {of} a {place}", "A {place} {the} menja sobretot {food}{c}."),
        "census": (
            "Cens {of} a {place}: mètodes i resultats",
            "Uns {num} exemplars vivien a {place} el {year}, un {few}.5 % més que abans{c}.",
        ),
        "breeding": (
            "La cria {of} a {place}",
            "Cria el {month}, p. ex. als rierols de {place}, i cf. la fig. 2 al maig{c}.",
        ),
        "parasites": (
            "Paràsits {of} de {place}",
            "Roca et al. (2018) van trobar paràsits al {few},2 % dels animals de {place}{c}.",
        ),
        "habitat": (
            "Hàbitat {of} a {place}: un model",
            "A {place}, {the} prefereix els boscos per sota de 1.{num} m (vegeu la tab. 1){c}.",
        ),
        "intro": ("L'estudi {of} a {place}", "L'estudi {of} no és nou."),
        "both": ("", "Dieta i cens de {place} depenen de l'aigua, almenys el {month}{c}."),
        "all": ("", "Altres treballs sobre {place} i la comarca arriben al mateix{c}."),
        "lost": (
            "Memòria inèdita del museu de Soto",
            "Ningú més no ho ha vist a {place} des del {year}{c}.",
        ),
        "heading": ("Referències", "Introducció"),
    },
    "en": {
        "diet": ("Diet {of} in {place}", "In {place} {the} eats {food} above all{c}."),
        "census": (
            "A census {of} in {place}: methods and results",
            "Some {num} animals lived in {place} in {year}, {few}.5 % more than before{c}.",
        ),
        "breeding": (
            "Breeding {of} in {place}",
            "It breeds in {month}, e.g. in the streams of {place}; cf. Fig. 2 for May{c}.",
        ),
        "parasites": (
            "Parasites {of} from {place}",
            "Brown et al. (2018) found parasites in {few}.2 % of the animals of {place}{c}.",
        ),
        "habitat": (
            "Habitat {of} in {place}: a model",
            "In {place}, {the} prefers woods below 1,{num} m (see Tab. 1 of vol. 2){c}.",
        ),
        "intro": ("The study {of} in {place}", "The study {of} is not new."),
        "both": ("", "Diet and census in {place} depend on water, at least in {month}{c}."),
        "all": ("", "Other works on {place} and its county come to the same{c}."),
        "lost": (
            "Unpublished notes of the museum of Soto",
            "Nobody else has seen it in {place} since {year}{c}.",
        ),
        "heading": ("References", "Introduction"),
    },
}
THEMES = ("diet", "census", "breeding", "parasites", "habitat")
