"""Who attends to whom among the packed tokens of a prefix tree."""

from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor
from torch.nn.attention.flex_attention import BlockMask, create_block_mask
from torch.nn.functional import pad

from trainers.kernels.query_chunks import Chunk, cut_chunks


@dataclass(frozen=True, eq=False)
class Tree:
    """Who attends to whom among T packed tokens.

    ends [T]: one behind the last token below the node of each. positions [T]: places in the row.
    longest: tokens of the longest row.
    """

    ends: Tensor
    positions: Tensor
    longest: int

    def to(self, device: torch.device) -> "Tree":
        """The tree with its tensors on `device`."""
        return replace(self, ends=self.ends.to(device), positions=self.positions.to(device))

    def mask(self, window: int | None = None) -> Tensor:
        """The same as a dense matrix, bool [T, T] (query, key); `window` as Mistral counts it."""
        index = torch.arange(len(self.ends), device=self.ends.device)
        seen = (index[None] <= index[:, None]) & (index[:, None] < self.ends[None])
        if window is None:
            return seen
        return seen & (self.positions[:, None] - self.positions[None] < window)

    def padded(self, num: int) -> "Tree":
        """The tree with `num` tokens more, which no other sees and which see no other."""
        size = len(self.ends) + num
        ends = torch.cat([self.ends, self.ends.new_full((num,), size)])
        return replace(self, ends=ends, positions=pad(self.positions, (0, num)))

    @cached_property
    def chunks(self) -> tuple[Chunk, ...]:
        """The same for TreeAttention, made once for all layers."""
        return cut_chunks(self.ends.numpy())

    @cached_property
    def block_mask(self) -> BlockMask:
        """The same for FlexAttention, made once for all layers."""
        ends, size = self.ends, len(self.ends)

        def seen(batch: Tensor, head: Tensor, query: Tensor, key: Tensor) -> Tensor:
            return (key <= query) & (query < ends[key])

        return create_block_mask(seen, None, None, size, size, device=ends.device.type)
