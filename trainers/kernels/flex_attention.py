"""Tree attention on CUDA: FlexAttention with the tree as a block-sparse mask.

Only tiles on some query's path are computed, so a shared prefix costs once here too.

Shapes: T packed tokens, D width of a head, H query heads, K key-value heads.
"""

from functools import lru_cache
from typing import Any

import torch
from torch import Tensor
from torch.nn.attention.flex_attention import flex_attention

from trainers.kernels.tree import Tree


def flex_tree_attention(
    query: Tensor, key: Tensor, value: Tensor, tree: Tree, scale: float
) -> Tensor:
    """Attention of packed tokens along the tree, whose tensors are on the query's device.

    Args:
        query: [1, H, T, D]; key and value: [1, K, T, D], H a multiple of K.
    Returns:
        [1, H, T, D].
    """
    kernel = _compiled() if query.device.type == "cuda" else flex_attention
    out: Tensor = kernel(
        query, key, value, block_mask=tree.block_mask, scale=scale, enable_gqa=True
    )
    return out


@lru_cache(maxsize=1)
def _compiled() -> Any:
    # Dynamic shapes: every micro-batch has another T, and each would be compiled again.
    return torch.compile(flex_attention, dynamic=True)
