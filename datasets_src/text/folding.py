"""Fold names and words for comparison: ignore case, accents and repeated spaces.

fold("  L’Institut  Català") -> "l'institut catala"
words("la qualitat de l'aigua") -> {"qualitat", "aigua"}
"""

import re
import unicodedata

# NFKD reorders combining accents in quadratic time (50,000 on one letter: 2 s). No name is longer
# than this; longer text is compared unchanged.
MAX_FOLDED = 1000
# Stop words: articles, prepositions and conjunctions of Catalan, Spanish and English.
SMALL_WORDS = frozenset(
    (
        *("a", "al", "amb", "con", "d", "de", "del", "dels"),
        *("des", "desde", "e", "el", "els", "en"),
        *("entre", "es", "i", "l", "la", "las", "les", "lo", "los", "o", "para", "pel", "pels"),
        *("per", "por", "sobre", "u", "un", "una", "y"),
        *("and", "at", "by", "for", "from", "in", "into", "of", "on", "or", "the", "to", "with"),
    )
)


def fold(text: str) -> str:
    """`text` without case, accents and repeated white space."""
    if len(text) > MAX_FOLDED:
        return text
    letters = unicodedata.normalize("NFKD", text.replace("’", "'"))
    bare = "".join(letter for letter in letters if not unicodedata.combining(letter))
    return " ".join(bare.casefold().split())


def all_words(text: str) -> list[str]:
    """Folded words in order; `l·l` does not split a word, an apostrophe does."""
    return re.findall(r"\w+", fold(text).replace("·", ""))


def words(text: str) -> set[str]:
    """The distinct words of a text without SMALL_WORDS; if only these remain, all of them."""
    found = set(all_words(text))
    return found - SMALL_WORDS or found
