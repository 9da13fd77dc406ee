"""The language of a short text: Catalan, Spanish or English.

detect("List of projects by Agència Montefría", without={"agencia", "montefria"}) -> "en"

By lingua. Of 126 short texts (90 sentences and phrases of our own; queries, rewrites and topics of
IMPULSE) it knew 125, py3langid 119; both knew all rewrites without the names in them. lingua also
says where a text is in no alphabet of the three. That is worth its 96 MB against 5.
"""

import re
from collections.abc import Collection
from functools import cache

from lingua import Language, LanguageDetector, LanguageDetectorBuilder

from datasets_src.text.folding import fold

MAX_CHARS = 1000
CODES = {Language.CATALAN: "ca", Language.SPANISH: "es", Language.ENGLISH: "en"}


def detect(text: str, *, without: Collection[str] = ()) -> str | None:
    """ "ca", "es" or "en"; None where the text has no letters of theirs.

    Names have no language: the folded words `without` are left out, unless nothing is left then.
    """
    clean = text[:MAX_CHARS].encode("utf-8", "replace").decode()
    rest = re.sub(r"\w+", lambda word: "" if fold(word[0]) in without else word[0], clean)
    found = _detector().detect_language_of(rest if re.search(r"[^\W\d]", rest) else clean)
    return None if found is None else CODES[found]


@cache
def _detector() -> LanguageDetector:
    return LanguageDetectorBuilder.from_languages(*CODES).build()
