"""The trie of a set of rows: each distinct prefix is a node, and stands once.

    order = sort_rows(ids)                     rows that share a prefix become neighbours
    shared = shared_lengths([ids[i] for i in order])
    nodes = trie_nodes(lengths, shared, min_share=8)

Rows [1 2 3 4], [1 2 3 5] and [1 2 3 5 6] with min_share=1 make the nodes [1 2 3] of all three,
[4], [5] of two, and [6]: 6 tokens for 13. In sorted order any two rows share the least of the
`shared` lengths between them, so that nothing but these lengths is needed to cut a step.
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
    """The tokens [start, end) of rows [first, last), all of which agree on them."""

    first: int
    last: int
    start: int
    end: int


def sort_rows(rows: Sequence[Ids]) -> list[int]:
    """Indices of `rows` in the order of their token ids; equal rows in the order given."""
    # As big-endian bytes, for bytes compare like the numbers they hold, a prefix first.
    keys = [np.asarray(ids, dtype=">u4").tobytes() for ids in rows]
    return sorted(range(len(rows)), key=lambda i: (keys[i], i))


def shared_lengths(rows: Sequence[Ids]) -> list[int]:
    """Tokens that each row has in common with the next one; one fewer than there are rows."""
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
    """The nodes of sorted rows, depth first: a parent before its children, those in row order.

    Args:
        lengths: tokens of each row.
        shared: what `shared_lengths` gives for them.
        min_share: a node of several rows holds at least so many tokens; shorter common pieces
            are repeated in each row, for a node costs a call of the attention kernel.
    """
    assert len(shared) == max(0, len(lengths) - 1) and min_share >= 1
    waiting = [(0, len(lengths), 0)] if lengths else []
    while waiting:
        first, last, depth = waiting.pop()
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
        cuts = [i + 1 for i in range(first, last - 1) if shared[i] < least]
        parts = list(pairwise([first, *cuts, last]))
        waiting += [(a, b, depth) for a, b in reversed(parts)]


def trie_size(lengths: Sequence[int], shared: Sequence[int], *, min_share: int = 1) -> int:
    """Tokens of the trie of sorted rows."""
    return sum(node.end - node.start for node in trie_nodes(lengths, shared, min_share=min_share))
