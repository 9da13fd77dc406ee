"""Tree attention equals SDPA with the dense mask; FlexAttention's reference equals both."""

from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from tests.trainers.step.plain_step import random_rows
from trainers.kernels import tree_attention as module
from trainers.kernels.attention import attention_forward
from trainers.kernels.flex_attention import flex_tree_attention
from trainers.kernels.query_chunks import cut_chunks
from trainers.kernels.tree import Tree
from trainers.kernels.tree_attention import TreeAttention, exact_bmm
from trainers.step.packing import pack


def tensors(tree: Tree, heads: int, kv_heads: int, dtype: torch.dtype) -> list[Tensor]:
    torch.manual_seed(0)
    shape = len(tree.ends), 16
    return [
        torch.randn(1, h, *shape, dtype=dtype, requires_grad=True)
        for h in (heads, kv_heads, kv_heads)
    ]


@pytest.mark.parametrize("kv_heads", [4, 2, 1])
@pytest.mark.parametrize("num_scores", [1, 2**19])
@pytest.mark.parametrize("size", [3, 16, 256])
def test_values_and_gradients_equal_the_dense_mask(
    kv_heads: int, num_scores: int, size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For any chunk size, with one key-value head or all of them at a time."""
    monkeypatch.setattr(module, "THREAD_SCORES", num_scores)
    tree = pack(random_rows(12, shared=20), min_share=2).tree
    chunks = cut_chunks(tree.ends.numpy(), size)
    query, key, value = tensors(tree, 4, kv_heads, torch.float64)
    out = TreeAttention.apply(query, key, value, chunks, 0.3)
    weights = torch.randn_like(out)
    got = torch.autograd.grad((out * weights).sum(), (query, key, value))
    dense = F.scaled_dot_product_attention(
        query, key, value, tree.mask()[None, None], scale=0.3, enable_gqa=True
    )
    want = torch.autograd.grad((dense * weights).sum(), (query, key, value))
    torch.testing.assert_close(out, dense, rtol=1e-12, atol=1e-13)
    for ours, theirs in zip(got, want, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("window", [None, 5, 1000])
def test_a_sliding_window_is_respected(window: int | None) -> None:
    """As in Mistral, a token sees itself and the window - 1 tokens before it."""
    tree = pack(random_rows(6, shared=20), min_share=2).tree
    query, key, value = tensors(tree, 2, 2, torch.float64)
    out, _ = attention_forward(
        cast(Any, SimpleNamespace()), query, key, value, None, 0.3, tree=tree, sliding_window=window
    )
    scores = (0.3 * query @ key.transpose(2, 3)).masked_fill(~tree.mask(window), -torch.inf)
    want = (scores.softmax(-1) @ value).transpose(1, 2)
    torch.testing.assert_close(out, want, rtol=1e-12, atol=1e-13)
    if window == 5:
        assert not torch.equal(tree.mask(window), tree.mask())


def test_scores_of_bfloat16_are_not_rounded() -> None:
    """The precision setting is restored, and other products keep their precision."""
    a, b = torch.randn(3, 20, 64).bfloat16(), torch.randn(3, 64, 30).bfloat16()
    matmul = cast(Any, torch.backends.mkldnn).matmul
    before = matmul.fp32_precision
    got = exact_bmm(a, b, 0.3)
    assert got.dtype == torch.float32 and matmul.fp32_precision == before
    torch.testing.assert_close(got, (0.3 * a.double() @ b.double()).float(), rtol=1e-5, atol=1e-5)
    assert not got.bfloat16().float().equal(got)
    wide = torch.randn(3, 20, 64)
    want = wide.double() @ b.double()
    torch.testing.assert_close(exact_bmm(wide, b.float(), 1.0).double(), want, rtol=1e-5, atol=1e-5)


def test_flex_attention_sees_the_same_tree() -> None:
    """FlexAttention's reference runs on any device; the compiled kernel is tested in tests/gpu."""
    tree = pack(random_rows(12, shared=20), min_share=2).tree
    query, key, value = (x.detach() for x in tensors(tree, 4, 2, torch.float64))
    got = flex_tree_attention(query, key, value, tree, 0.3)
    want = TreeAttention.apply(query, key, value, tree.chunks, 0.3)
    torch.testing.assert_close(got, want, rtol=1e-6, atol=1e-6)


def test_without_a_tree_attention_is_sdpa() -> None:
    query, key, value = (torch.randn(2, 2, 7, 16) for _ in range(3))
    layer = cast(Any, SimpleNamespace(is_causal=True))
    out, _ = attention_forward(layer, query, key, value, None, 0.25)
    want = F.scaled_dot_product_attention(query, key, value, is_causal=True, scale=0.25)
    torch.testing.assert_close(out, want.transpose(1, 2))
