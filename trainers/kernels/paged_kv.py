"""Keys and values of many rows, in pages that rows can share.

pool = KvCache(shape, num_prompt=40, num_reply=96)
page = pool.prompt.take(); pool.prompt.keys[layer][page]      # [kv_heads, 128, width]

A prompt's whole pages hold 128 tokens each and have as many users as rows that begin with them.
What is left of the prompt and the reply is the row's own, in pages of 32: a page is read to its
end, however full it is.
"""

import heapq
from collections.abc import Sequence
from dataclasses import dataclass

import torch

PROMPT_PAGE = 128
REPLY_PAGE = 32


@dataclass(frozen=True)
class Shape:
    """Of a model's keys; `heads` of the queries are a multiple of `kv_heads`."""

    layers: int
    heads: int
    kv_heads: int
    width: int
    dtype: torch.dtype

    @property
    def token_bytes(self) -> int:
        """Of a token's keys and values in all layers."""
        return 2 * self.layers * self.kv_heads * self.width * self.dtype.itemsize


class PageTable:
    """Pages of one size in all layers: keys and values [num, kv_heads, size, width] of each.

    Memory is that of the pages that were ever in use; the rest of the tensors is never touched.
    """

    def __init__(self, shape: Shape, *, size: int, num: int) -> None:
        self.size = size
        sizes = (num, shape.kv_heads, size, shape.width)
        self.keys = [torch.empty(sizes, dtype=shape.dtype) for _ in range(shape.layers)]
        self.values = [torch.empty(sizes, dtype=shape.dtype) for _ in range(shape.layers)]
        self._users = [0] * num
        # The lowest free page is taken next: pages in use lie close together, and what follows one
        # another is read in one call.
        self._free = list(range(num))
        self._touched = [False] * num

    def take(self) -> int:
        """A page with one user; what is in it is finite."""
        page = heapq.heappop(self._free)
        self._users[page] = 1
        if not self._touched[page]:
            self._touched[page] = True
            for tensor in (*self.keys, *self.values):
                tensor[page].zero_()  # a mask hides a number, not a NaN
        return page

    def share(self, pages: Sequence[int]) -> None:
        """One more user of each."""
        for page in pages:
            self._users[page] += 1

    def drop(self, pages: Sequence[int]) -> None:
        """One user fewer of each; a page without any is free."""
        for page in pages:
            self._users[page] -= 1
            if not self._users[page]:
                heapq.heappush(self._free, page)

    @property
    def num_used(self) -> int:
        """Pages that have users."""
        return len(self._users) - len(self._free)

    @property
    def num_touched(self) -> int:
        """Pages that take memory."""
        return sum(self._touched)


class KvCache:
    """The pages of prompts and those of replies."""

    def __init__(self, shape: Shape, *, num_prompt: int, num_reply: int) -> None:
        self.shape = shape
        self.prompt = PageTable(shape, size=PROMPT_PAGE, num=num_prompt)
        self.reply = PageTable(shape, size=REPLY_PAGE, num=num_reply)
