"""A paper of the boletin set before it has a format.

Written("El estudio del tritón en Soto", "es", "10.5555/bol.7",
        sentences=(("Cría en marzo{c}.", (0,)),), entries=(Entry("La cría del tritón", 2019),))
"""

from typing import NamedTuple

Sentence = tuple[str, tuple[int, ...]]


class Entry(NamedTuple):
    """An entry of the list of references."""

    title: str
    year: int


class Written(NamedTuple):
    """`sentences` have {c} where they cite the entries of their numbers, from 0 on."""

    title: str
    language: str
    doi: str
    sentences: tuple[Sentence, ...]
    entries: tuple[Entry, ...]
