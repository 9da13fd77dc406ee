"""Split scholarly text in Spanish, Catalan and English into sentences, not at abbreviations.

split_sentences("Según Gil et al. (2018), crece un 3.5 % (fig. 2). Otros, p. ej. el tritón, no.")
["Según Gil et al. (2018), crece un 3.5 % (fig. 2).", "Otros, p. ej. el tritón, no."]

Own implementation: pysbd 0.3.4 splits 13 of 25 such texts (tests/datasets_src/papers) wrongly.
Its Spanish rules know neither "et al. (" nor "Sr.", and it does not support Catalan. Undecided
cases are not split: two joined sentences are still true, half a sentence is not.

Private-use characters U+E000-F8FF represent citations (paper.py). Like the full stop, they belong
to the sentence before them.
"""

import re

MARK = "[\ue000-\uf8ff]"
# A sentence never ends after these.
_JOINS = frozenset(
    (
        *("cf", "vs", "e.g", "i.e", "eg", "ie", "viz", "approx", "aprox", "incl", "resp"),
        *("p.ej", "ej", "p.ex", "ex", "v.gr", "gr", "op", "dr", "dra", "drs", "dres", "prof"),
        *("profa", "sr", "sra", "srs", "sres", "srta", "d", "dña", "mr", "mrs", "ms", "st", "sta"),
        *("sto", "ed", "eds", "coord", "coords", "trad", "comp", "véase", "ver", "ca"),
    )
)
# After these it continues if a number or a bracket follows: "no. 7", "fig. S2", "s. XIX".
_BEFORE_NUMBER = frozenset(
    (
        *("fig", "figs", "eq", "eqs", "ec", "ecs", "eqn", "tab", "tabs", "table", "sec", "sect"),
        *("secs", "secc", "cap", "caps", "ch", "chap", "art", "arts", "no", "nos", "nr", "n", "nº"),
        *("núm", "núms", "num", "nums", "p", "pp", "pág", "págs", "pag", "pàg", "pàgs", "vol"),
        *("vols", "ref", "refs", "app", "apd", "s", "ss", "c", "v", "t", "lám", "exp"),
    )
)
# After these, and after initials, it may end or not.
_MAY_END = frozenset(("al", "etc", "uu", "cit", "ibid", "ibíd", "loc", "sp", "spp", "inc", "ltd"))
# Words that start a sentence and are not names; they decide after "et al." or "vitamin C.".
_OPENERS = frozenset(
    (
        *("a", "after", "all", "although", "an", "as", "at", "both", "but", "by", "for", "from"),
        *("he", "here", "however", "if", "in", "it", "its", "most", "no", "on", "other", "our"),
        *("she", "since", "some", "such", "that", "the", "their", "there", "these", "they"),
        *("this", "those", "thus", "to", "we", "when", "while", "with", "yet"),
        *(
            "al",
            "aquest",
            "aquesta",
            "aun",
            "aunque",
            "así",
            "cada",
            "com",
            "como",
            "con",
            "cuando",
        ),
        *(
            "de",
            "del",
            "desde",
            "después",
            "els",
            "el",
            "ella",
            "ellos",
            "en",
            "entre",
            "es",
            "esta",
        ),
        *(
            "estas",
            "este",
            "esto",
            "estos",
            "estudios",
            "hay",
            "hi",
            "la",
            "las",
            "les",
            "lo",
            "los",
        ),
        *(
            "más",
            "mientras",
            "muchos",
            "ni",
            "nadie",
            "ningú",
            "ninguna",
            "ninguno",
            "otra",
            "otras",
        ),
        *(
            "otro",
            "otros",
            "para",
            "pero",
            "per",
            "però",
            "por",
            "quan",
            "se",
            "según",
            "segons",
            "si",
        ),
        *("sin", "sobre", "són", "son", "su", "sus", "també", "también", "tot", "todo", "todos"),
        *("tras", "un", "una", "unes", "uns", "unos", "ya"),
    )
)
# A stop, closing quotes or brackets, and white space before a possible start of a sentence.
# Possessive: backtracking gains nothing and takes quadratic time on a run of stops.
_STOP = re.compile(
    rf"(?<![.!?…])(?P<stop>[.!?…]++)(?:[\"'»”’)\]}}]|{MARK})*+\s++"
    rf"(?=[¿¡\"'«“‘(\[]*+(?P<next>{MARK}|\w[\w’'-]*\.?)?)"
)
_LAST_WORD = re.compile(r"(?:\w\.)*[\wº]+$")
_NUMBERED = re.compile(r"[ivx]+|[a-z]?[0-9]+(?:[.,-][0-9]+)*[a-z]?\.?", re.IGNORECASE)


def split_sentences(text: str) -> list[str]:
    """The sentences of one paragraph, stripped; linear in its length."""
    sentences, start = [], 0
    for match in _STOP.finditer(text):
        if _ends(text, start, match):
            sentences.append(text[start : match.end()].strip())
            start = match.end()
    sentences.append(text[start:].strip())
    return [sentence for sentence in sentences if sentence]


def _ends(text: str, start: int, match: re.Match[str]) -> bool:
    """Whether the sentence that starts at `start` ends at this stop."""
    following = match["next"] or ""
    if following[:1].islower():
        return False
    if match["stop"] != ".":
        return True
    # Longer than any abbreviation; the slice keeps the search linear.
    found = _LAST_WORD.search(text[max(start, match.start() - 24) : match.start()])
    if found is None:
        return True
    word = found[0].casefold()
    if word in _JOINS:
        return False
    if word in _BEFORE_NUMBER:
        return not (text[match.end() : match.end() + 1] in "([" or _NUMBERED.fullmatch(following))
    if word in _MAY_END or _is_initial(found[0]):
        return following.casefold() in _OPENERS and text[match.end() : match.end() + 1] not in "(["
    # "1. Introducción": the number is part of the sentence.
    return not (word.isdecimal() and not text[start : match.start() - len(found[0])].strip(" (["))


def _is_initial(word: str) -> bool:
    """Whether a word before a stop is an initial or abbreviation: "J", "J.R", "U.S", "EE"."""
    parts = word.split(".")
    return all(len(part) == 1 and part.isupper() for part in parts) or word == "EE"
