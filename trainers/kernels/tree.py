"""The attention pattern of a packed prefix tree, as one number per token.

Query q sees key k exactly if k <= q < ends[k]: in depth-first order the descendants of a node are
one contiguous range. Shape: T packed tokens.
"""

from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor
from torch.nn.attention.flex_attention import BlockMask, create_block_mask
from torch.nn.functional import pad

from trainers.kernels.query_chunks import Chunk, cut_chunks


@dataclass(frozen=True, eq=False)
class Tree:
    """Which of T packed tokens attend to which.

    Attributes:
        ends: ends_T, the end (exclusive) of the last descendant of each token's node.
        positions: positions_T, position ids within the row.
        longest: tokens of the longest row, to compare with a sliding window.
    """

    ends: Tensor
    positions: Tensor
    longest: int

    def to(self, device: torch.device) -> "Tree":
        """The tree with its tensors on `device`."""
        return replace(self, ends=self.ends.to(device), positions=self.positions.to(device))

    def mask(self, window: int | None = None) -> Tensor:
        """The dense mask, bool [T, T] (query, key), True where the query sees the key.

        Args:
            window: sliding window as Mistral counts it: the token and the window - 1 before it.
        """
        index = torch.arange(len(self.ends), device=self.ends.device)
        seen = (index[None] <= index[:, None]) & (index[:, None] < self.ends[None])
        if window is None:
            return seen
        # Distances in the row: on the path of a token, packed indices have gaps.
        return seen & (self.positions[:, None] - self.positions[None] < window)

    def padded(self, num: int) -> "Tree":
        """The tree with `num` more tokens, which see one another but share nothing with others."""
        size = len(self.ends) + num
        ends = torch.cat([self.ends, self.ends.new_full((num,), size)])
        return replace(self, ends=ends, positions=pad(self.positions, (0, num)))

    @cached_property
    def chunks(self) -> tuple[Chunk, ...]:
        """Chunks for TreeAttention, computed once for all layers."""
        return cut_chunks(self.ends.numpy())

    @cached_property
    def block_mask(self) -> BlockMask:
        """The block-sparse mask for FlexAttention, computed once for all layers."""
        ends, size = self.ends, len(self.ends)

        def seen(batch: Tensor, head: Tensor, query: Tensor, key: Tensor) -> Tensor:
            return (key <= query) & (query < ends[key])

        return create_block_mask(seen, None, None, size, size, device=ends.device.type)
