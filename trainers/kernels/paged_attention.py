"""Paged attention whose result for a token does not depend on what else is in the batch.

    inputs = PagedAttentionInputs(pool, plan.reads(), positions=positions, writes=writes)
    out = inputs.attend(layer, query, key, value, scale)

Each (page, token) pair has a slot in a call of the flash kernel (paged_plan.py), which returns an
output o_b and a log-sum-exp L_b; the parts of a token are merged in page order in float32 by

    L = log sum_b exp(L_b)        o = sum_b exp(L_b - L) o_b

(the identity of ring attention, arXiv 2310.01889). A slot's result depends only on its query and
page: calls of one kind always have the same number of queries per page, and no sum runs over
other tokens. In passes of a fixed size (generation/forward.py) replies are thus bit-identical for
any batch.

Shapes: T tokens of the pass, N <= T of them with reads, D width of a head, H query heads, K
key-value heads, W tokens to write, S slots of all calls, P parts of the token with most pages.
"""

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

from trainers.kernels.paged_kv import KvCache, PageTable
from trainers.kernels.paged_plan import Call, Reads

_flash = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu


class PagedAttentionInputs:
    """What each attention layer does in a pass over T tokens: write keys and values, then attend.

    Args:
        pool: the paged KV cache.
        reads: for the first N tokens, the pages each attends to; the others are padding and get 0.
        positions: positions_T, position ids within the rows.
        writes: per page table, (token, page * size + offset) pairs; a token may be written to
            several pages.
    """

    def __init__(
        self,
        pool: KvCache,
        reads: Reads,
        *,
        positions: Tensor,
        writes: Iterable[tuple[PageTable, Sequence[tuple[int, int]]]],
    ) -> None:
        self._heads, self._kv_heads = pool.shape.heads, pool.shape.kv_heads
        self._reads = reads
        self._writes = [(pages, *self._rows(pages, pairs)) for pages, pairs in writes if pairs]
        self._masks = [self._mask(call, positions, pool.shape.dtype) for call in reads.calls]

    def _rows(self, pages: PageTable, pairs: Sequence[tuple[int, int]]) -> tuple[Tensor, Tensor]:
        """Tokens [W], and rows [W * K] of the pages viewed as [pages * K * size, D]."""
        tokens, slots = torch.tensor(pairs).unbind(1)
        page, offset = slots // pages.size, slots % pages.size
        heads = page[:, None] * self._kv_heads + torch.arange(self._kv_heads)
        return tokens, (heads * pages.size + offset[:, None]).flatten()

    def _mask(self, call: Call, positions: Tensor, dtype: torch.dtype) -> Tensor | None:
        """[pages, 1, queries, size]: 0 where a query sees the key, else -inf."""
        if call.firsts is None:
            return None
        num_seen = positions[call.tokens] + 1 - call.firsts
        is_hidden = torch.arange(call.size) >= num_seen[:, None]
        mask = torch.zeros(is_hidden.shape, dtype=dtype).masked_fill_(is_hidden, -torch.inf)
        mask = mask.repeat_interleave(self._heads // self._kv_heads, 0)
        return mask.view(call.stop - call.start, 1, -1, call.size)

    def attend(self, layer: int, query: Tensor, key: Tensor, value: Tensor, scale: float) -> Tensor:
        """Write a layer's new keys and values into the cache, then attend.

        Args:
            query: [1, H, T, D]; key and value: [1, K, T, D].
        Returns:
            [1, T, H, D]; 0 for padding tokens.
        """
        for pages, tokens, rows in self._writes:
            for tensor, new in ((pages.keys[layer], key), (pages.values[layer], value)):
                new_WKD = new[0].transpose(0, 1).index_select(0, tokens)
                tensor.view(-1, tensor.shape[-1]).index_copy_(0, rows, new_WKD.flatten(0, 1))
        query_THD = query[0].transpose(0, 1)
        wide = torch.promote_types(query.dtype, torch.float32)
        # Slot 0 has weight exp(-inf) = 0: tokens with fewer than P parts are filled up with it.
        outs = [query_THD.new_zeros(1, *query_THD.shape[1:])]
        totals = [torch.full((1, self._heads), -torch.inf, dtype=wide)]
        for call, mask in zip(self._reads.calls, self._masks, strict=True):
            out, total = self._call(call, mask, layer, query_THD, scale)
            outs.append(out)
            totals.append(total)
        out_THD = query_THD.new_zeros(query_THD.shape)
        merged = merge(torch.cat(outs), torch.cat(totals), self._reads.parts)
        out_THD[: len(merged)] = merged
        return out_THD[None]

    def _call(
        self, call: Call, mask: Tensor | None, layer: int, query_THD: Tensor, scale: float
    ) -> tuple[Tensor, Tensor]:
        """Output [s, H, D] and log-sum-exp [s, H] of the call's s slots.

        Query heads that share a key-value head are more queries of it.
        """
        num, width = call.stop - call.start, query_THD.shape[-1]
        rows, keys = slice(call.start, call.stop), slice(call.offset, call.offset + call.size)
        query = query_THD.index_select(0, call.tokens)
        query = query.view(num, -1, self._kv_heads, self._heads // self._kv_heads, width)
        out, total = _flash(
            query.transpose(1, 2).flatten(2, 3),
            call.pages.keys[layer][rows, :, keys],
            call.pages.values[layer][rows, :, keys],
            0.0,
            False,
            attn_mask=mask,
            scale=scale,
        )
        out = out.unflatten(2, (-1, query.shape[3])).transpose(1, 2)
        total = total.unflatten(2, (-1, query.shape[3])).transpose(1, 2)
        return out.reshape(-1, self._heads, width), total.reshape(-1, self._heads)


def merge(out_SHD: Tensor, total_SH: Tensor, parts: Tensor) -> Tensor:
    """Merge each token's parts, weighted by exp(log-sum-exp).

    The additions are in page order, one by one, so that appended parts of weight 0 change no bit.

    Args:
        out_SHD: outputs of all slots.
        total_SH: their log-sum-exps.
        parts: parts_PN, for each token its slots in page order.
    Returns:
        [N, H, D].
    """
    total_PNH = total_SH[parts]
    weight_PNH = (total_PNH - total_PNH.amax(0)).exp_()
    sum_NHD, sum_NH = out_SHD[parts[0]] * weight_PNH[0, :, :, None], weight_PNH[0].clone()
    for slots_N, weight_NH in zip(parts[1:], weight_PNH[1:], strict=True):
        sum_NHD += out_SHD.index_select(0, slots_N) * weight_NH[..., None]
        sum_NH += weight_NH
    return sum_NHD.div_(sum_NH[..., None]).to(out_SHD.dtype)
