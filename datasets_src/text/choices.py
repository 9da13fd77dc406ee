"""Multiple-choice questions in Spanish: parse the options, and the letter that a reply chooses.

options_of("¿A qué hora? a) 20 b) 22 c) 24") == {"a": "20", "b": "22", "c": "24"}
chosen_letter("La respuesta correcta es la b)", {"a": "20", "b": "22", "c": "24"}) == "b"
"""

import re
from collections.abc import Mapping

from datasets_src.text.measures import fold, tokens

LETTERS = "abcdefgh"
_OPTION = re.compile(
    r"(?:^|(?<=[\s(]))(?P<letter>[a-h])\)\s*(?P<text>.*?)(?=\s+\(?[a-h]\)|$)", re.I
)
_MARKED = re.compile(r"(?:^|(?<=[\s(*\"«]))[a-h](?=\))", re.I)
# "B.", "b: 22 horas", "b" alone; not the "a" of "A las 22 horas".
_OPENING = re.compile(r"\W*(?P<letter>[a-h])(?:[.:]|\s*-|\W*$)", re.I)
# "la respuesta correcta es la b"; "a" and "e" before a word are Spanish words, not letters.
_NAMED = re.compile(
    r"\b(?:respuesta|opci[oó]n|alternativa)(?:\s+correcta)?(?:\s+es)?:?\s+"
    r"(?:(?:la|el|opci[oó]n|letra|literal)\s+){0,3}"
    r"[(\"«*]*(?P<letter>[b-df-h]\b|[ae]\b(?!\s*\w))",
    re.I,
)
# A reference to part of a law's article: "art. 3, literal b)".
_LITERAL = re.compile(r"\b(?:lit|literal|letra)\b\.?\s+[a-h]\)", re.I)


def options_of(question: str) -> dict[str, str]:
    """Letter -> text of the options "a) … b) …"; empty if there are fewer than two."""
    found = {m["letter"].lower(): m["text"].strip(" ;,") for m in _OPTION.finditer(fold(question))}
    return found if len(found) >= 2 and "".join(found) == LETTERS[: len(found)] else {}


def chosen_letter(reply: str, options: Mapping[str, str]) -> str:
    """The letter that a reply chooses, by letter or by the option's text; "" for none or several.

    A letter named as the answer ("la respuesta es b") takes precedence over letters in a list.
    """
    text = fold(reply)
    letters = {match["letter"].lower() for match in _NAMED.finditer(text)}
    letters = letters or {match[0].lower() for match in _MARKED.finditer(_LITERAL.sub("", text))}
    if not letters and (opening := _OPENING.match(text)):
        letters = {opening["letter"].lower()}
    if not letters:
        return _by_text(tokens(text), options)
    letter = letters.pop()
    return letter if not letters and letter in options else ""


def _by_text(reply: list[str], options: Mapping[str, str]) -> str:
    """The option whose words start the reply; the longest, if several do."""
    words = {letter: tokens(option) for letter, option in options.items()}
    fitting = [letter for letter, w in words.items() if w and reply[: len(w)] == w]
    return max(fitting, key=lambda letter: len(words[letter]), default="")
