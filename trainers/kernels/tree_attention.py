"""Attention over a packed prefix trie on CPU in chunks of queries, forward and backward.

    out = TreeAttention.apply(query, key, value, tree.chunks, scale)

A chunk of queries (query_chunks.py) gathers the keys on its paths, and only those, and is then
ordinary attention, computed by batched products over the heads:

    P = softmax(s Q K^T + hidden)        O = P V
    dV = P^T dO     dS = P * (dO V^T - rowsum(P * dO V^T))     dQ = s dS K     dK = s dS^T Q

P is recomputed in the backward pass, so that no scores are saved, as in FlashAttention (arXiv
2205.14135). Scores and dO V^T are float32: a product of two bfloat16 numbers is exact in it, and
rounding the sums to bfloat16 would be an error that the flash kernel does not make either.

Shapes: T packed tokens, D width of a head, H query heads, K key-value heads, g = H / K. Of one
part: n queries, L keys, k key-value heads.
"""

from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor

from trainers.kernels.query_chunks import Chunk

# Scores in memory at a time per thread: 2 MiB in float32.
THREAD_SCORES = 2**19


class TreeAttention(torch.autograd.Function):
    """query [1, H, T, D], key and value [1, K, T, D], H a multiple of K -> [1, H, T, D]."""

    @staticmethod
    def forward(
        ctx: Any, query: Tensor, key: Tensor, value: Tensor, chunks: tuple[Chunk, ...], scale: float
    ) -> Tensor:
        one, heads, tokens, width = query.shape
        # Laid out as [1, T, H, D], which the caller returns: its transpose then copies nothing.
        out = query.new_empty(one, tokens, heads, width).transpose(1, 2)
        for part in _parts(chunks, heads, key.shape[1]):
            q, k, v = part.queries_of(query), part.keys_of(key), part.keys_of(value)
            p = _probabilities(q, k, part.chunk.hidden, scale)
            part.put(out, torch.bmm(p.to(v.dtype), v))
        ctx.save_for_backward(query, key, value)
        ctx.chunks, ctx.scale = chunks, scale
        return out

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        query, key, value = ctx.saved_tensors
        wide = torch.promote_types(query.dtype, torch.float32)
        d_query = torch.empty_like(query)
        # A shared key gets gradients from many chunks: they are summed in float32, rounded once.
        d_key, d_value = torch.zeros_like(key, dtype=wide), torch.zeros_like(value, dtype=wide)
        for part in _parts(ctx.chunks, query.shape[1], key.shape[1]):
            q, k, v = part.queries_of(query), part.keys_of(key), part.keys_of(value)
            d_out = part.queries_of(grads[0])
            p = _probabilities(q, k, part.chunk.hidden, ctx.scale)
            d_p = exact_bmm(d_out, v.transpose(1, 2), 1.0)
            d_scores = torch._softmax_backward_data(d_p, p, -1, wide).to(q.dtype)
            part.put(d_query, _scaled_bmm(d_scores, k, ctx.scale))
            part.add(d_key, _scaled_bmm(d_scores.transpose(1, 2), q, ctx.scale))
            part.add(d_value, torch.bmm(p.to(q.dtype).transpose(1, 2), d_out))
        return d_query, d_key.to(key.dtype), d_value.to(value.dtype), None, None


class _Part(NamedTuple):
    """A chunk of n queries and L keys in k of the K key-value heads, each with g query heads."""

    chunk: Chunk
    kv_heads: slice
    group: int

    def _view(self, x: Tensor) -> Tensor:
        heads = slice(self.kv_heads.start * self.group, self.kv_heads.stop * self.group)
        return x[0, heads, self.chunk.start : self.chunk.end]

    def queries_of(self, x: Tensor) -> Tensor:
        """[1, H, T, D] -> [k, g * n, D]: query heads of one key head become more queries of it."""
        rows = self.group * (self.chunk.end - self.chunk.start)
        return self._view(x).reshape(-1, rows, x.shape[-1])

    def put(self, x: Tensor, rows: Tensor) -> None:
        """Write [k, g * n, D] to the place that `queries_of` reads."""
        view = self._view(x)
        view.copy_(rows.view(view.shape))

    def keys_of(self, x: Tensor) -> Tensor:
        """[1, K, T, D] -> [k, L, D]."""
        return torch.cat([x[0, self.kv_heads, a:b] for a, b in self.chunk.keys], 1)

    def add(self, x: Tensor, rows: Tensor) -> None:
        """Add [k, L, D] to the places that `keys_of` reads."""
        sizes = [b - a for a, b in self.chunk.keys]
        for (a, b), piece in zip(self.chunk.keys, rows.split(sizes, 1), strict=True):
            x[0, self.kv_heads, a:b] += piece


def _parts(chunks: Iterable[Chunk], heads: int, kv_heads: int) -> Iterator[_Part]:
    """The chunks in order, each split over the heads so that its scores fit THREAD_SCORES."""
    group, budget = heads // kv_heads, THREAD_SCORES * torch.get_num_threads()
    for chunk in chunks:
        scores = heads * (chunk.end - chunk.start) * sum(b - a for a, b in chunk.keys)
        num_parts = min(kv_heads, -(-scores // budget))
        for i in range(num_parts):
            heads_of_part = slice(kv_heads * i // num_parts, kv_heads * (i + 1) // num_parts)
            yield _Part(chunk, heads_of_part, group)


def _probabilities(q: Tensor, k: Tensor, hidden: Tensor, scale: float) -> Tensor:
    """q [k, g * n, D], k [k, L, D], hidden [n, W] -> [k, g * n, L], float32 or wider."""
    scores = exact_bmm(q, k.transpose(1, 2), scale)
    num_queries, width = hidden.shape
    if width:  # only the last W keys are hidden from any query
        scores.view(-1, num_queries, scores.shape[-1])[:, :, -width:] += hidden
    return torch.softmax(scores, -1)


def exact_bmm(a: Tensor, b: Tensor, scale: float) -> Tensor:
    """scale * a @ b with a float32 result, at the speed of bfloat16 if the inputs are bfloat16.

    oneDNN may multiply float32 inputs as bfloat16, which drops no bits of inputs that were
    bfloat16. The setting is global to the process while the product runs, which is safe because a
    worker multiplies from one thread.

    Args:
        a: [B, n, m]; b: [B, m, l], of one dtype.
    Returns:
        [B, n, l], float32 for bfloat16 inputs, else of their dtype.
    """
    if a.dtype != torch.bfloat16:
        return _scaled_bmm(a, b, scale)
    matmul = cast(Any, torch.backends.mkldnn).matmul
    before, matmul.fp32_precision = matmul.fp32_precision, "bf16"
    try:
        return _scaled_bmm(a.float(), b.float(), scale)
    finally:
        matmul.fp32_precision = before


def _scaled_bmm(a: Tensor, b: Tensor, scale: float) -> Tensor:
    # beta=0 ignores what is in `out`; alpha scales inside the product, without another pass.
    out = a.new_empty(len(a), a.shape[1], b.shape[2])
    return torch.baddbmm(out, a, b, beta=0, alpha=scale, out=out)
