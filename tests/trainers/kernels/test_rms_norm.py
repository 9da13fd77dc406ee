"""The norm of a frozen base has the output and gradient of transformers'."""

from typing import Any

import pytest
import torch
from torch import nn
from transformers import LlamaConfig, LlamaForCausalLM, Qwen3Config, Qwen3ForCausalLM
from transformers.models.llama.modeling_llama import LlamaRMSNorm

from trainers.kernels import rms_norm as module
from trainers.kernels.rms_norm import FrozenNorm, replace_norms

WIDTH = 48


def norms(dtype: torch.dtype) -> tuple[LlamaRMSNorm, FrozenNorm]:
    torch.manual_seed(0)
    stock = LlamaRMSNorm(WIDTH)
    stock.weight.data.normal_(1, 0.3)
    stock.to(dtype).requires_grad_(False)
    return stock, FrozenNorm(stock)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_the_output_is_the_same_bit_for_bit(dtype: torch.dtype) -> None:
    stock, ours = norms(dtype)
    x = (3 * torch.randn(2, 7, 5, WIDTH)).to(dtype)
    assert torch.equal(ours(x), stock(x))
    assert torch.equal(ours(x.transpose(1, 2)), stock(x.transpose(1, 2)))


@pytest.mark.parametrize("rows", [1, 4, 100])
def test_the_gradient_passes_gradcheck(rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "THREAD_ROWS", rows)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    _, ours = norms(torch.float64)
    x = torch.randn(1, 10, WIDTH, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(ours, (x,))


def test_in_bfloat16_the_gradient_is_rounded_no_more_than_stock() -> None:
    stock, ours = norms(torch.bfloat16)
    x, upstream = (3 * torch.randn(400, WIDTH)).bfloat16(), torch.randn(400, WIDTH).bfloat16()
    exact_norm = FrozenNorm(stock)
    exact_norm.weight = nn.Parameter(stock.weight.double(), requires_grad=False)
    errors = []
    exact = gradient(exact_norm, x.double(), upstream.double())
    for norm in (ours, stock):
        errors.append(float((gradient(norm, x, upstream).double() - exact).norm() / exact.norm()))
    assert 1e-4 < errors[1] < 1e-2 and errors[0] < 1.05 * errors[1]


def gradient(norm: nn.Module, x: torch.Tensor, upstream: torch.Tensor) -> torch.Tensor:
    x = x.clone().requires_grad_()
    norm(x).backward(upstream)
    assert x.grad is not None
    return x.grad


def test_a_trained_weight_is_refused() -> None:
    stock, ours = norms(torch.float32)
    stock.weight.requires_grad_(True)
    with pytest.raises(AssertionError, match="is trained"):
        ours(torch.randn(3, WIDTH))


def test_every_norm_is_replaced_and_names_are_kept() -> None:
    sizes: dict[str, Any] = {
        "vocab_size": 31,
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
    }
    for model in (
        LlamaForCausalLM(LlamaConfig(**sizes)),
        Qwen3ForCausalLM(Qwen3Config(**sizes, head_dim=8)),
    ):
        before = {name: p.data_ptr() for name, p in model.named_parameters()}
        num = sum(type(m).__name__.endswith("RMSNorm") for m in model.modules())
        ids = torch.arange(12)[None]
        model.requires_grad_(False)
        want = model(ids).logits
        replace_norms(model)
        assert {name: p.data_ptr() for name, p in model.named_parameters()} == before
        assert sum(isinstance(m, FrozenNorm) for m in model.modules()) == num > 4
        assert torch.equal(model(ids).logits, want)
