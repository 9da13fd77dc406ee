"""Pack a micro-batch into one unpadded sequence that holds each distinct prefix once.

pack(examples, min_share=8) -> PackedBatch: the prefix trie of the rows, in depth-first order

      rows                 packed            a token attends to its ancestors in the trie:
      a b c d              a b c d e f       query q sees key k  <=>  k <= q < ends[k]
      a b e f
      a b e                ends 6 6 4 4 6 6

A target shared by several rows (here `e` after `b`) is one loss position of weight 2.

Shapes: T packed tokens, N loss positions (distinct targets).
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import pad

from datasets_src.batching.trie import Node, shared_lengths, sort_rows, trie_nodes
from datasets_src.types import TokenizedExample
from trainers.kernels.tree import Tree


@dataclass(frozen=True)
class PackedBatch:
    """T packed tokens with N loss positions.

    Attributes:
        ids: ids_T, int64.
        tree: which tokens attend to which.
        src: src_N, the packed token whose hidden state predicts target n.
        targets: targets_N, token ids.
        weights: weights_N, float64: how many of the rows' trained tokens target n represents.
        num_row_tokens: tokens of the rows before prefixes are shared.
        row_targets: for each row, in input order, the indices n of its trained tokens.
    """

    ids: Tensor
    tree: Tree
    src: Tensor
    targets: Tensor
    weights: Tensor
    num_row_tokens: int
    row_targets: tuple[Tensor, ...]

    def to(self, device: torch.device) -> "PackedBatch":
        """The batch with its tensors on `device`."""
        return PackedBatch(
            self.ids.to(device),
            self.tree.to(device),
            self.src.to(device),
            self.targets.to(device),
            self.weights.to(device),
            self.num_row_tokens,
            self.row_targets,
        )

    def padded(self, multiple: int) -> "PackedBatch":
        """Round T and N up to a multiple, with untrained tokens and targets of weight 0.

        Loss and gradient do not change. oneDNN's products of 2,011 rows take a fifth longer than
        those of 2,016.
        """
        more_tokens, more_targets = -len(self.ids) % multiple, -len(self.src) % multiple
        return replace(
            self,
            ids=pad(self.ids, (0, more_tokens)),
            tree=self.tree.padded(more_tokens),
            src=pad(self.src, (0, more_targets)),
            targets=pad(self.targets, (0, more_targets)),
            weights=pad(self.weights, (0, more_targets)),
        )


def pack(examples: Sequence[TokenizedExample], *, min_share: int) -> PackedBatch:
    """Pack rows so that loss and gradient equal those of the unpacked rows exactly.

    Args:
        examples: rows in any order; only `row_targets` depends on it.
        min_share: minimum length, in tokens, of a prefix that is stored once.
    """
    order = sort_rows([e.input_ids for e in examples])
    rows = [np.asarray(examples[i].input_ids, dtype=np.int64) for i in order]
    # Position 0 has no predecessor to predict it, even if the prompt is empty.
    first_targets = [max(examples[i].prompt_len, 1) for i in order]
    lengths = [len(row) for row in rows]
    nodes = list(trie_nodes(lengths, shared_lengths(rows), min_share=min_share))
    starts = np.cumsum([0, *(node.end - node.start for node in nodes)])
    src, targets, weights, sorted_targets = _targets(rows, first_targets, nodes, starts)
    # Depth first, a node's descendants are contiguous, so one number per key replaces a T x T mask.
    node_ends = _ends(nodes, starts)
    sizes = np.diff(starts)
    tree = Tree(
        ends=torch.from_numpy(np.repeat(node_ends, sizes)),
        # Positions in the row, not the pack: rotary embeddings are those of the unpacked row.
        positions=torch.from_numpy(np.concatenate([np.arange(n.start, n.end) for n in nodes])),
        longest=max(lengths),
    )
    ids = np.concatenate([rows[n.first][n.start : n.end] for n in nodes])
    return PackedBatch(
        ids=torch.from_numpy(ids),
        tree=tree,
        src=torch.from_numpy(src),
        targets=torch.from_numpy(targets),
        weights=torch.from_numpy(weights),
        num_row_tokens=sum(lengths),
        # argsort inverts the permutation: `order` maps sorted to input positions.
        row_targets=tuple(torch.from_numpy(sorted_targets[i]) for i in np.argsort(order)),
    )


def num_target_tokens(length: int, prompt_len: int) -> int:
    """Trained tokens of a row; its first token has no predecessor and is never one."""
    return length - max(prompt_len, 1)


def _ends(nodes: Sequence[Node], starts: NDArray[np.int64]) -> NDArray[np.int64]:
    """For each node, the end (exclusive) of its last descendant: where the next node outside its
    subtree starts."""
    ends = np.full(len(nodes), starts[-1])
    open_nodes: list[int] = []
    for i, node in enumerate(nodes):
        while open_nodes and nodes[open_nodes[-1]].last <= node.first:
            ends[open_nodes.pop()] = starts[i]
        open_nodes.append(i)
    return ends


def _targets(
    rows: Sequence[NDArray[np.int64]],
    first_targets: Sequence[int],
    nodes: Sequence[Node],
    starts: NDArray[np.int64],
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64], list[NDArray[np.int64]]]:
    """Distinct (packed token, next token) pairs: src_N, targets_N, weights_N (rows that train each)
    and, for each row, the indices of its pairs."""
    # paths[row][position] is the packed token; shared positions have the same one in every row.
    paths = [np.empty(len(row), np.int64) for row in rows]
    for node, start in zip(nodes, starts.tolist(), strict=False):
        for path in paths[node.first : node.last]:
            path[node.start : node.end] = np.arange(start, start + node.end - node.start)
    pairs = np.concatenate(
        [
            np.stack([path[first - 1 : -1], row[first:]], axis=1)
            for path, row, first in zip(paths, rows, first_targets, strict=True)
        ]
    )
    distinct, index, counts = np.unique(pairs, axis=0, return_inverse=True, return_counts=True)
    src, targets = distinct.T.copy()
    num_targets = [len(row) - first for row, first in zip(rows, first_targets, strict=True)]
    row_targets = np.split(index.reshape(-1), np.cumsum(num_targets)[:-1])
    return src, targets, counts.astype(np.float64), row_targets
