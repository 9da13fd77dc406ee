"""Find DOIs in any text, in every common notation, and normalise them.

find_dois("See <https://doi.org/10.5555/ABC.12>, doi:10.5555%2Fabc.13.").dois
("10.5555/abc.12", "10.5555/abc.13")

A DOI is "10." and four to nine digits, a slash and a suffix (DOI Handbook, 2.2; the pattern is
Crossref's). DOIs are case-insensitive.
"""

import html
import re
import unicodedata
from itertools import pairwise
from typing import NamedTuple
from urllib.parse import unquote

_START = re.compile(r"(?<![0-9.])10\.[0-9]{4,9}/")
# What ends a suffix: white space, quotes, separators of a list, and what follows a DOI in a URL.
# Brackets and `;` occur in real DOIs: 10.1002/(SICI)1097-0258(1998)17:1<1::AID-1>3.0.CO;2-U
_END = re.compile(r"""[\s"'`´‘’“”«»,?&*|\\{}^~]|https?:|doi:""")
_BRACKETS = {")": "(", "]": "[", ">": "<"}
_LOOSE = ".;:!/_-"
_TAG = re.compile(r"</?[a-zA-Z][a-zA-Z0-9]{0,9}\s?/?>")
_ESCAPED = re.compile(r"\\([^\w\s]|_)")  # "10.5555\/a" of JSON, "a\_b" of Markdown
_DASHES = dict.fromkeys(map(ord, "‐‑‒–—−"), "-")
# Text labelled as a DOI, or starting like one, that is malformed.
_CLAIM = re.compile(r"\bdois?\b(?:\.org/|\s{0,3}[:=#]?\s{0,3})[^\s\d]{0,40}\d|(?<![\w.])10[.,]\d*/")


class Found(NamedTuple):
    """`dois`: distinct and normalised, in text order. `num_malformed`: malformed candidates."""

    dois: tuple[str, ...]
    num_malformed: int


def find_dois(text: str) -> Found:
    """All DOIs of a text and the number of malformed ones; linear in its length, never raises."""
    plain = _plain(text)
    starts = [match.start() for match in _START.finditer(plain)]
    dois: dict[str, None] = {}
    num_malformed, rest, last = 0, [], 0
    for start, following in pairwise([*starts, len(plain)]):
        piece = plain[start:following]
        prefix, slash, suffix = piece.partition("/")
        suffix = _suffix(suffix)
        if suffix:
            dois[(prefix + slash + suffix).lower()] = None
        else:
            num_malformed += 1
        rest.append(plain[last:start])
        last = start + len(prefix) + 1 + len(suffix)
    rest.append(plain[last:])
    # The bar cannot match _CLAIM, so the text before and after a DOI is not joined to one.
    num_malformed += len(_CLAIM.findall(" | ".join(rest).lower()))
    return Found(tuple(dois), num_malformed)


def _plain(text: str) -> str:
    """Undo HTML, percent and backslash escapes; drop invisible characters; ASCII hyphens."""
    text = unicodedata.normalize("NFKC", html.unescape(unquote(text)))
    text = _TAG.sub(" ", _ESCAPED.sub(r"\1", text))
    text = "".join(char for char in text if unicodedata.category(char) != "Cf")
    return text.translate(_DASHES)


def _suffix(text: str) -> str:
    """The DOI suffix at the start of `text`, without trailing punctuation or open brackets."""
    if end := _END.search(text):
        text = text[: end.start()]
    opened: list[str] = []
    for position, char in enumerate(text):
        if char in _BRACKETS.values():
            opened.append(char)
        elif char in _BRACKETS and (not opened or opened.pop() != _BRACKETS[char]):
            text = text[:position]
            break
    return text.rstrip(_LOOSE)
