"""Numbers in Spanish text in a normal form, so that different notations compare equal.

numbers_in("De 1.234,5 a 3 500 m, en 2021 y en 12,50 km") == ["1234.5", "3500", "2021", "12.5"]

A dot or a space before three digits groups thousands, a comma is the decimal separator. Where that
is impossible, English notation is assumed, as many rows use it: 4.8, 1,234.5, 1,234,567. A range
gives two numbers, a date three, and a sign is not part of a number. Not numbers: number words,
Roman numerals, digits after a letter (CO2, km2).
"""

import json
import re
from collections.abc import Iterator
from typing import Any

NUMBER = re.compile(
    r"""
    (?: (?<![^\W_]) | (?<=[0-9]x) )    # no letter before it, except the x of 35x5,5
    (?:
      (?<![0-9][.,])                   # the 03.2023 of 12.03.2023 is not a decimal
      (?: (?P<spanish> [1-9][0-9]{0,2} (?: \.[0-9]{3} )+ (?: ,[0-9]+ )? )
        | (?P<spaced> [1-9][0-9]{0,2} (?: [ \u00a0\u2009\u202f][0-9]{3} )+ (?: [.,][0-9]+ )? )
        | (?P<english> [1-9][0-9]{0,2} (?: (?: ,[0-9]{3} )+ \.[0-9]+ | (?: ,[0-9]{3} ){2,} ) )
        | (?P<decimal> [0-9]+ [.,] [0-9]+ )
      ) (?! [.,]?[0-9] )
      | (?P<integer> [0-9]+ )
    )
    """,
    re.VERBOSE,
)


def numbers_in(text: str) -> list[str]:
    """All numbers of `text` in order: digits, with a point before decimals."""
    return [_normal_form(match) for match in NUMBER.finditer(text)]


def numbers_in_json(text: str) -> list[str]:
    """Numbers of a JSON text, where a point is always decimal, and of the strings in it.

    Text that is not JSON is read like `numbers_in`.
    """
    literals: list[str] = []
    try:
        value = json.loads(text, parse_int=literals.append, parse_float=literals.append)
    except (ValueError, RecursionError):
        return numbers_in(text)
    written = [number for leaf in _texts(value) for number in numbers_in(leaf)]
    return [*(_plain(*literal.lstrip("-").partition(".")[::2]) for literal in literals), *written]


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, list | dict):
        for leaf in value.values() if isinstance(value, dict) else value:
            yield from _texts(leaf)


def _normal_form(match: re.Match[str]) -> str:
    kind, text = str(match.lastgroup), match[0]
    if kind == "spanish":
        whole, _, decimals = text.replace(".", "").partition(",")
    elif kind == "english":
        whole, _, decimals = text.replace(",", "").partition(".")
    else:
        whole, _, decimals = re.sub(r"\s", "", text).replace(",", ".").partition(".")
    return _plain(whole, decimals)


def _plain(whole: str, decimals: str) -> str:
    whole, decimals = whole.lstrip("0") or "0", decimals.rstrip("0")
    return f"{whole}.{decimals}" if decimals else whole
