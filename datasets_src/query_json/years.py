"""Normalises year filters to a first and a last year.

meaning(">=2020") == meaning("2020-") == (2020, None)
meaning("2018-2020") == meaning("2018 – 2020") == (2018, 2020)
"""

import re

Meaning = tuple[int | None, int | None] | str

_BOUND = re.compile(r"(>=|<=|>|<|=|≥|≤)? ?([0-9]{4})")
_RANGE = re.compile(r"([0-9]{4}) ?[-–—/] ?([0-9]{4})?")


def meaning(text: str) -> Meaning:
    """(first, last) year, None for an open end; the folded text if it is not a year filter."""
    text = " ".join(text.split())
    if found := _BOUND.fullmatch(text):
        sign, year = found[1], int(found[2])
        bounds: dict[str | None, tuple[int | None, int | None]] = {
            ">=": (year, None),
            "≥": (year, None),
            ">": (year + 1, None),
            "<=": (None, year),
            "≤": (None, year),
            "<": (None, year - 1),
        }
        return bounds.get(sign, (year, year))
    if found := _RANGE.fullmatch(text):
        return int(found[1]), int(found[2]) if found[2] else None
    return text.casefold()
