"""The one attention implementation registered with transformers, dispatched on a call's inputs.

    register()                                              # attn_implementation="tree" is known
    decoder(input_ids=..., **attention_inputs(base, tree))  # training: a packed prefix trie
    decoder(input_ids=..., attention_mask=NO_MASK, pages=...)  # generation: a paged KV cache

| inputs of the call | implementation |
|---|---|
| `pages` | paged attention (paged_attention.py) |
| `tree`, on CPU | tree attention in chunks of queries (tree_attention.py) |
| `tree`, on CUDA | FlexAttention with the same block-sparse mask (flex_attention.py) |
| `tree`, a row longer than the sliding window | SDPA with a dense mask |
| neither | transformers' SDPA |

Shapes: T tokens, D width of a head, H query heads, K key-value heads (H is a multiple of K).
"""

from typing import Any, cast

import torch
from torch import Tensor, nn
from transformers import AttentionInterface, PreTrainedModel
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import AttentionMaskInterface, sdpa_mask

from trainers.kernels.flex_attention import flex_tree_attention
from trainers.kernels.paged_attention import PagedAttentionInputs
from trainers.kernels.tree import Tree
from trainers.kernels.tree_attention import TreeAttention

NAME = "tree"
# transformers takes a 4-D mask as it is and builds none of its own.
NO_MASK = torch.zeros(1, 1, 1, 1)


def attention_forward(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    tree: Tree | None = None,
    pages: PagedAttentionInputs | None = None,
    sliding_window: int | None = None,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """The attention function that transformers calls in each layer.

    Args:
        query: [1, H, T, D]; key and value: [1, K, T, D]. Without `tree` and `pages`, any batch.
        tree: attention pattern of a packed prefix trie (attention_inputs).
        pages: paged KV cache with its reads and writes (generation/forward.py).
    Returns:
        [1, T, H, D], and None for the attention weights, which are never computed.
    """
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
        out = TreeAttention.apply(query, key, value, tree.chunks, scale)
    return out.transpose(1, 2).contiguous(), None


def attention_inputs(base: PreTrainedModel, tree: Tree) -> dict[str, Any]:
    """Keyword arguments for the model's call, so that its layers attend along the tree.

    The tree is an argument, not state: recomputed activations (gradient checkpointing) see it too.
    """
    if base.config._attn_implementation == NAME:
        return {"attention_mask": NO_MASK, "tree": tree}
    # Falcon's layers call SDPA themselves: exact with a dense mask, only attention is slower.
    return {"attention_mask": tree.mask()[None, None]}


def register() -> None:
    """Make attn_implementation="tree" known to transformers."""
    AttentionInterface.register(NAME, attention_forward)
    AttentionMaskInterface.register(NAME, sdpa_mask)
