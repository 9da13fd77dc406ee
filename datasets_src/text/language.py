"""Detect the language of a short text: Catalan, Spanish or English.

detect("List of projects by Agència Montefría", without={"agencia", "montefria"}) -> "en"

Uses lingua: of 126 short texts (90 own sentences and phrases; queries, rewrites and topics of
IMPULSE) it identified 125, py3langid 119; both identified all rewrites once names were removed.
lingua also detects that a text uses none of the three alphabets, which justifies 96 MB against 5.
"""

import re
from collections.abc import Collection
from functools import cache

from lingua import Language, LanguageDetector, LanguageDetectorBuilder

from datasets_src.text.folding import fold

MAX_CHARS = 1000
CODES = {Language.CATALAN: "ca", Language.SPANISH: "es", Language.ENGLISH: "en"}


def detect(text: str, *, without: Collection[str] = ()) -> str | None:
    """Return "ca", "es" or "en"; None if the text has no letters of these languages.

    The folded words `without`, e.g. names, are ignored unless the text has no others.
    """
    clean = text[:MAX_CHARS].encode("utf-8", "replace").decode()
    rest = re.sub(r"\w+", lambda word: "" if fold(word[0]) in without else word[0], clean)
    found = _detector().detect_language_of(rest if re.search(r"[^\W\d]", rest) else clean)
    return None if found is None else CODES[found]


@cache
def _detector() -> LanguageDetector:
    return LanguageDetectorBuilder.from_languages(*CODES).build()
