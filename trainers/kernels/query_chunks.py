"""Queries of a packed trie in chunks, each with the keys that any of its queries sees.

    chunks = cut_chunks(ends)        # ends: Tree.ends as a NumPy array

Query q sees key k exactly if k <= q < ends[k]. So of the tokens before it, a chunk sees no more
than its first query does, and a mask is needed only over the chunk itself and, where it holds
several nodes, over ancestors that they do not share.

Shape: T packed tokens.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

# Maximum queries per chunk: longer nodes are split, shorter ones share a chunk.
SIZE = 256


class Chunk(NamedTuple):
    """Queries [start, end) with their keys.

    Attributes:
        keys: ascending [a, b) ranges of packed tokens; the last one ends at `end`.
        hidden: [end - start, W], float32: -inf where a query does not see one of the last W keys,
            else 0; all queries see all keys before those.
    """

    start: int
    end: int
    keys: tuple[tuple[int, int], ...]
    hidden: Tensor


def cut_chunks(ends: NDArray[np.int64], size: int = SIZE) -> tuple[Chunk, ...]:
    """Cut the T queries of a trie into chunks of at most `size`, each query in exactly one.

    Args:
        ends: ends_T, the end (exclusive) of the last descendant of each token's node.
    """
    nodes = np.flatnonzero(np.diff(ends, prepend=-1, append=-1)).tolist()
    return tuple(_chunk(ends, *cut) for cut in pairwise(_cuts(nodes, size)))


def _cuts(nodes: Sequence[int], size: int) -> list[int]:
    """Start of each chunk and end of the last, from the starts of nodes and the end of the last.

    A node of at most `size` queries is not split: they see the same ancestors, so that a chunk of
    one node needs no mask over them.
    """
    cuts = [0]
    for start, end in pairwise(nodes):
        num_parts = -(-(end - start) // size)
        bounds = [start + (end - start) * i // num_parts for i in range(num_parts + 1)]
        for part_start, part_end in pairwise(bounds):
            if part_end - cuts[-1] > size:
                cuts.append(part_start)
    return [*cuts, nodes[-1]]


def _chunk(ends: NDArray[np.int64], start: int, end: int) -> Chunk:
    # Of the earlier tokens, those open at the first query: no later query of the chunk sees others.
    is_seen = np.append(ends[:start] > start, np.ones(end - start, bool))
    edges = np.flatnonzero(np.diff(is_seen, prepend=False, append=False))
    queries, keys = np.arange(start, end)[:, None], np.flatnonzero(is_seen)
    is_hidden = (keys > queries) | (queries >= ends[keys])
    # The mask begins at the first key that some query does not see.
    first = int(np.append(is_hidden.any(0), True).argmax())
    hidden = np.where(is_hidden[:, first:], np.float32(-np.inf), np.float32(0))
    ranges = tuple((a, b) for a, b in edges.reshape(-1, 2).tolist())
    return Chunk(start, end, ranges, torch.from_numpy(hidden))
