"""Paged KV cache with reference-counted prefix sharing (PagedAttention, arXiv 2309.06180).

pool = KvCache(shape, num_prompt=40, num_reply=96)
page = pool.prompt.take(); pool.prompt.keys[layer][page]      # [kv_heads, 128, width]

The full pages of a prompt hold 128 tokens each and are shared by all rows that start with them. The
rest of the prompt and the reply are in the row's own pages of 32 tokens: attention reads a page to
its end however full it is, so that short pages waste less.
"""

import heapq
from collections.abc import Sequence
from dataclasses import dataclass

import torch

PROMPT_PAGE = 128
REPLY_PAGE = 32


@dataclass(frozen=True)
class Shape:
    """Shape of a model's KV cache; query `heads` are a multiple of `kv_heads`."""

    layers: int
    heads: int
    kv_heads: int
    width: int
    dtype: torch.dtype

    @property
    def token_bytes(self) -> int:
        """Bytes of one token's keys and values over all layers."""
        return 2 * self.layers * self.kv_heads * self.width * self.dtype.itemsize


class PageTable:
    """Reference-counted pages of one size: keys and values [num, kv_heads, size, width] per layer.

    Only pages that were ever used take memory; the rest of the tensors is never touched.
    """

    def __init__(self, shape: Shape, *, size: int, num: int) -> None:
        self.size = size
        sizes = (num, shape.kv_heads, size, shape.width)
        self.keys = [torch.empty(sizes, dtype=shape.dtype) for _ in range(shape.layers)]
        self.values = [torch.empty(sizes, dtype=shape.dtype) for _ in range(shape.layers)]
        self._users = [0] * num
        # A heap: the lowest free page is taken next, so that used pages are consecutive, and
        # consecutive pages are read in one kernel call.
        self._free = list(range(num))
        self._touched = [False] * num

    def take(self) -> int:
        """Allocate a page with one user; its contents are finite."""
        page = heapq.heappop(self._free)
        self._users[page] = 1
        if not self._touched[page]:
            self._touched[page] = True
            for tensor in (*self.keys, *self.values):
                # Unwritten places are masked, but 0 * NaN from uninitialised memory is NaN.
                tensor[page].zero_()
        return page

    def share(self, pages: Sequence[int]) -> None:
        """Add a user to each page."""
        for page in pages:
            self._users[page] += 1

    def drop(self, pages: Sequence[int]) -> None:
        """Remove a user from each page; a page without users is free."""
        for page in pages:
            self._users[page] -= 1
            if not self._users[page]:
                heapq.heappush(self._free, page)

    @property
    def num_used(self) -> int:
        """Pages with users."""
        return len(self._users) - len(self._free)

    @property
    def num_touched(self) -> int:
        """Pages that were ever used and so take memory."""
        return sum(self._touched)


class KvCache:
    """Pages of prompts and pages of replies."""

    def __init__(self, shape: Shape, *, num_prompt: int, num_reply: int) -> None:
        self.shape = shape
        self.prompt = PageTable(shape, size=PROMPT_PAGE, num=num_prompt)
        self.reply = PageTable(shape, size=REPLY_PAGE, num=num_reply)
