"""The prefix trie of a set of rows: each distinct prefix is a node and is stored once.

    order = sort_rows(ids)                     # rows that share a prefix become neighbours
    shared = shared_lengths([ids[i] for i in order])
    nodes = trie_nodes(lengths, shared, min_share=8)

Rows [1 2 3 4], [1 2 3 5] and [1 2 3 5 6] with min_share=1 have the nodes [1 2 3] (three rows), [4],
[5] (two rows) and [6]: 6 tokens instead of 13. In sorted order, two rows share the minimum of the
`shared` lengths between them, so a step is cut from these lengths alone, without its tokens.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

Ids = Sequence[int] | NDArray[Any]


@dataclass(frozen=True)
class Node:
    """Tokens [start, end) of the sorted rows [first, last), which are equal in all of them."""

    first: int
    last: int
    start: int
    end: int


def sort_rows(rows: Sequence[Ids]) -> list[int]:
    """Indices of `rows` sorted by token ids, a prefix before its extensions; stable."""
    # Big-endian bytes compare like the numbers they encode, at the speed of memcmp.
    keys = [np.asarray(ids, dtype=">u4").tobytes() for ids in rows]
    return sorted(range(len(rows)), key=lambda i: (keys[i], i))


def shared_lengths(rows: Sequence[Ids]) -> list[int]:
    """Length of the prefix that each row shares with the next; one entry fewer than rows."""
    arrays = [np.asarray(ids) for ids in rows]
    shared = []
    for a, b in pairwise(arrays):
        n = min(len(a), len(b))
        differ = a[:n] != b[:n]
        shared.append(int(differ.argmax()) if differ.any() else n)
    return shared


def trie_nodes(
    lengths: Sequence[int], shared: Sequence[int], *, min_share: int = 1
) -> Iterator[Node]:
    """The nodes of sorted rows in depth-first order: parents first, children in row order.

    Args:
        lengths: tokens of each row.
        shared: `shared_lengths` of the rows.
        min_share: minimum tokens of a node of several rows. Shorter shared pieces are repeated in
            each row, because a node costs more than they save.
    """
    assert len(shared) == max(0, len(lengths) - 1) and min_share >= 1
    # A stack instead of recursion: a trie may be deeper than Python's recursion limit.
    pending = [(0, len(lengths), 0)] if lengths else []
    while pending:
        first, last, depth = pending.pop()
        if last - first == 1:
            if lengths[first] > depth:
                yield Node(first, last, depth, lengths[first])
            continue
        common = min(shared[first : last - 1])
        if common - depth >= min_share:
            yield Node(first, last, depth, common)
            depth, least = common, common + 1
        else:
            least = depth + min_share
        # Neighbours that share too little beyond this node for a node of their own are separated.
        cuts = [i + 1 for i in range(first, last - 1) if shared[i] < least]
        parts = list(pairwise([first, *cuts, last]))
        pending += [(a, b, depth) for a, b in reversed(parts)]


def trie_size(lengths: Sequence[int], shared: Sequence[int], *, min_share: int = 1) -> int:
    """Number of tokens in the trie of sorted rows."""
    return sum(node.end - node.start for node in trie_nodes(lengths, shared, min_share=min_share))
