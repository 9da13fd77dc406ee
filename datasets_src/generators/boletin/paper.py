"""A paper of the boletin set, independent of its file format.

Paper("El estudio del tritón en Soto", "es", "10.5555/bol.7",
        sentences=(("Cría en marzo{c}.", (0,)),), entries=(Entry("La cría del tritón", 2019),))
"""

from typing import NamedTuple

Sentence = tuple[str, tuple[int, ...]]


class Entry(NamedTuple):
    """An entry of the list of references."""

    title: str
    year: int


class Paper(NamedTuple):
    """`sentences` are (text, entry indices from 0); {c} marks the citation."""

    title: str
    language: str
    doi: str
    sentences: tuple[Sentence, ...]
    entries: tuple[Entry, ...]
