"""The queries of a trie in chunks, each with the keys that any of them sees.

Key k is seen by query q exactly if k <= q < ends[k]. So of the tokens before it, a chunk sees no
more than its first query does, and a mask is needed only over the chunk itself and, where it holds
more than one node, over its nodes' different ancestors.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

# Queries of a chunk, at most: longer nodes are cut, shorter ones stand together.
SIZE = 256


class Chunk(NamedTuple):
    """Queries [start, end) and ranges of keys in their order, the last of which ends with `end`.

    hidden [end - start, W]: -inf where a query does not see one of the last W keys, else 0; all
    queries see all the keys before those.
    """

    start: int
    end: int
    keys: tuple[tuple[int, int], ...]
    hidden: Tensor


def cut_chunks(ends: NDArray[np.int64], size: int = SIZE) -> tuple[Chunk, ...]:
    """Every query of a trie once; ends [T]: one behind the last token below the node of each."""
    nodes = np.flatnonzero(np.diff(ends, prepend=-1, append=-1)).tolist()
    return tuple(_chunk(ends, *cut) for cut in pairwise(_cuts(nodes, size)))


def _cuts(nodes: Sequence[int], size: int) -> list[int]:
    """Where chunks begin, and the end of the last, from where nodes do."""
    cuts = [0]
    for start, end in pairwise(nodes):
        num_parts = -(-(end - start) // size)
        places = [start + (end - start) * i // num_parts for i in range(num_parts + 1)]
        for part_start, part_end in pairwise(places):
            if part_end - cuts[-1] > size:
                cuts.append(part_start)
    return [*cuts, nodes[-1]]


def _chunk(ends: NDArray[np.int64], start: int, end: int) -> Chunk:
    is_seen = np.append(ends[:start] > start, np.ones(end - start, bool))
    edges = np.flatnonzero(np.diff(is_seen, prepend=False, append=False))
    queries, keys = np.arange(start, end)[:, None], np.flatnonzero(is_seen)
    is_hidden = (keys > queries) | (queries >= ends[keys])
    first = int(np.append(is_hidden.any(0), True).argmax())
    hidden = np.where(is_hidden[:, first:], np.float32(-np.inf), np.float32(0))
    ranges = tuple((a, b) for a, b in edges.reshape(-1, 2).tolist())
    return Chunk(start, end, ranges, torch.from_numpy(hidden))
