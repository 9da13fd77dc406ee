"""The gated MLP has the values and gradients of transformers', bit for bit."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers import LlamaConfig, LlamaForCausalLM
from transformers.models.llama.modeling_llama import LlamaMLP

from tests.trainers.step.plain_step import MODELS, build_model
from trainers.kernels import gated_mlp as module
from trainers.kernels.gated_mlp import GatedMLP, SwiGLU, replace_mlps


@pytest.mark.parametrize("rows", [1, 4, 100])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_values_and_gradients_are_the_same_bit_for_bit(
    dtype: torch.dtype, rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "THREAD_ROWS", rows)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    torch.manual_seed(0)
    gate, up, upstream = (3 * torch.randn(3, 21, 64)).to(dtype)

    def run(hidden: Any) -> list[Tensor]:
        leaves = [x.clone().requires_grad_() for x in (gate, up)]
        out = hidden(*leaves)
        return [out, *torch.autograd.grad(out, leaves, upstream)]

    stock = run(lambda g, u: nn.functional.silu(g) * u)
    for ours, theirs in zip(run(SwiGLU.apply), stock, strict=True):
        assert torch.equal(ours, theirs)


def test_every_equal_mlp_is_replaced() -> None:
    ids = torch.arange(12)[None]
    for name in MODELS:
        model = build_model(name, dtype=torch.float32)
        before = {key: p.data_ptr() for key, p in model.named_parameters()}
        want = model(ids).logits
        replace_mlps(model)
        assert {key: p.data_ptr() for key, p in model.named_parameters()} == before
        num = sum(isinstance(m, GatedMLP) for m in model.modules())
        assert num == (0 if name.startswith("falcon") else 2)
        assert torch.equal(model(ids).logits, want)


def test_an_mlp_with_another_activation_is_kept() -> None:
    config = LlamaConfig(
        vocab_size=31, hidden_size=32, intermediate_size=48, num_hidden_layers=1,
        num_attention_heads=4, hidden_act="gelu",
    )  # fmt: skip
    model = LlamaForCausalLM(config)
    replace_mlps(model)
    assert [type(m) for m in model.modules() if hasattr(m, "gate_proj")] == [LlamaMLP]
