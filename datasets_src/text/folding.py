"""Names and words as they are compared: without case, accents and spaces too many.

fold("  L’Institut  Català") -> "l'institut catala"
words("la qualitat de l'aigua") -> {"qualitat", "aigua"}
"""

import re
import unicodedata

# Sorting the accents of a text takes quadratic time (50,000 on one letter: 2 s), and no name is so
# long: a longer text is compared as it is.
MAX_FOLDED = 1000
# Articles, prepositions and conjunctions of Catalan, Spanish and English: they make no meaning.
SMALL_WORDS = frozenset(
    (
        *(
            "a",
            "al",
            "amb",
            "con",
            "d",
            "de",
            "del",
            "dels",
            "des",
            "desde",
            "e",
            "el",
            "els",
            "en",
        ),
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
    """Folded words in their order; an `l·l` is within a word, an apostrophe between two."""
    return re.findall(r"\w+", fold(text).replace("·", ""))


def words(text: str) -> set[str]:
    """The words that make the meaning; where there are only small ones, those."""
    found = set(all_words(text))
    return found - SMALL_WORDS or found
