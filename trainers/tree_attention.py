"""Attention over a packed trie: a few dense flash calls, no mask, no padding, no copies.

A query's keys are the nodes on its path. Every node is attended causally by itself and whole by
the one contiguous range of its descendants, so each (queries, keys) block is a plain rectangle.
With o_b and L_b the output and log-sum-exp of block b, the attention over all blocks is

    L = log sum_b exp(L_b)        o = sum_b exp(L_b - L) o_b

(ring attention's identity, arXiv 2310.01889). Backward runs the flash backward of each block with
the global o and L: exp(S - L) is then the true softmax, and the blocks' gradients add up.

`attn_implementation="tree"` is registered with transformers. On CUDA the same mask runs in
FlexAttention; a window that bites, as a dense mask. A call with `pages` in place of a tree attends
to those (page_attention.py), one with neither is plain SDPA.
"""

from typing import Any, cast

import torch
from torch import Tensor, nn
from transformers import AttentionInterface, PreTrainedModel
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import AttentionMaskInterface, sdpa_mask

from trainers.flex_attention import flex_tree_attention
from trainers.packing import Block, Tree
from trainers.page_attention import Step

NAME = "tree"
# transformers takes a 4-D mask as it is and builds none of its own.
NO_MASK = torch.zeros(1, 1, 1, 1)

_forward = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
_backward = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward


class TreeAttention(torch.autograd.Function):
    """query [1, H, T, D], key and value [1, K, T, D] with H a multiple of K -> [1, H, T, D]."""

    @staticmethod
    def forward(
        ctx: Any, query: Tensor, key: Tensor, value: Tensor, blocks: tuple[Block, ...], scale: float
    ) -> Tensor:
        wide = torch.promote_types(query.dtype, torch.float32)
        out = torch.empty(query.shape, dtype=wide)
        lse = torch.empty(query.shape[:3], dtype=wide)
        # The causal blocks come first and fill every query's place.
        for q_start, q_end, k_start, k_end, causal in blocks:
            part, part_lse = _forward(
                query[:, :, q_start:q_end],
                key[:, :, k_start:k_end],
                value[:, :, k_start:k_end],
                0.0,
                causal,
                scale=scale,
            )
            o, total = out[:, :, q_start:q_end], lse[:, :, q_start:q_end]
            if causal:
                o.copy_(part)
                total.copy_(part_lse)
            else:
                new = torch.logaddexp(total, part_lse)
                o.mul_((total - new).exp_()[..., None])
                o.addcmul_(part.to(wide), (part_lse - new).exp_()[..., None])
                total.copy_(new)
        out = out.to(query.dtype)
        ctx.save_for_backward(query, key, value, out, lse)
        ctx.blocks, ctx.scale = blocks, scale
        return out

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        query, key, value, out, lse = ctx.saved_tensors
        wide = torch.promote_types(query.dtype, torch.float32)
        d_query, d_key, d_value = (torch.zeros(x.shape, dtype=wide) for x in (query, key, value))
        for q_start, q_end, k_start, k_end, causal in ctx.blocks:
            queries, keys = slice(q_start, q_end), slice(k_start, k_end)
            dq, dk, dv = _backward(
                grads[0][:, :, queries],
                query[:, :, queries],
                key[:, :, keys],
                value[:, :, keys],
                out[:, :, queries],
                lse[:, :, queries],
                0.0,
                causal,
                scale=ctx.scale,
            )
            d_query[:, :, queries] += dq
            d_key[:, :, keys] += _sum_heads(dk, key.shape[1])
            d_value[:, :, keys] += _sum_heads(dv, key.shape[1])
        return (
            d_query.to(query.dtype),
            d_key.to(key.dtype),
            d_value.to(value.dtype),
            None,
            None,
        )


def _sum_heads(grad: Tensor, num_heads: int) -> Tensor:
    """[1, H, T, D] -> [1, K, T, D]: the kernel gives a gradient for each query head."""
    one, heads, tokens, width = grad.shape
    if heads == num_heads:
        return grad
    return grad.view(one, num_heads, heads // num_heads, tokens, width).sum(2)


def tree_attention_forward(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    tree: Tree | None = None,
    pages: Step | None = None,
    sliding_window: int | None = None,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """What transformers calls in each layer: query [1, H, T, D] -> ([1, T, H, D], None)."""
    if pages is not None:
        assert scaling is not None
        return pages.attend(cast(Any, module).layer_idx, query, key, value, scaling), None
    if tree is None:
        return sdpa_attention_forward(
            module, query, key, value, attention_mask, dropout, scaling, **kwargs
        )
    assert dropout == 0.0, "refused before training: check_family"
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    if sliding_window is not None and tree.longest > sliding_window:
        mask = tree.mask(sliding_window)[None, None]
        out = nn.functional.scaled_dot_product_attention(
            query, key, value, mask, scale=scale, enable_gqa=True
        )
    elif query.device.type == "cuda":
        out = flex_tree_attention(query, key, value, tree, scale)
    else:
        out = TreeAttention.apply(query, key, value, tree.blocks, scale)
    return out.transpose(1, 2).contiguous(), None


def attention_inputs(base: PreTrainedModel, tree: Tree) -> dict[str, Any]:
    """What the model is called with so that its layers attend along the tree."""
    if base.config._attn_implementation == NAME:
        return {"attention_mask": NO_MASK, "tree": tree}
    # Falcon's layers call SDPA themselves: exact with a dense mask, only attention is slower.
    return {"attention_mask": tree.mask()[None, None]}


def register() -> None:
    """Make attn_implementation="tree" known to transformers."""
    AttentionInterface.register(NAME, tree_attention_forward)
    AttentionMaskInterface.register(NAME, sdpa_mask)
