"""The reference step that every fast path is compared with: one row at a time, nothing shared."""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from peft import PeftModel
from torch import Tensor, nn
from transformers import (
    FalconConfig,
    FalconForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    PreTrainedModel,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
)

from datasets_src.types import TokenizedExample
from trainers.kernels.attention import register
from trainers.models.resolve import FAMILIES
from trainers.step.packing import num_target_tokens

VOCAB = 61
SIZES = {"vocab_size": VOCAB, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4}
GQA = {"intermediate_size": 48, "num_key_value_heads": 2, "max_position_embeddings": 2048}
MODELS: dict[str, tuple[Any, Any, dict[str, Any]]] = {
    "llama": (LlamaConfig, LlamaForCausalLM, GQA),
    "llama-tied": (LlamaConfig, LlamaForCausalLM, GQA | {"tie_word_embeddings": True}),
    "mistral": (MistralConfig, MistralForCausalLM, GQA | {"sliding_window": None}),
    "mistral-window": (MistralConfig, MistralForCausalLM, GQA | {"sliding_window": 7}),
    "qwen2": (Qwen2Config, Qwen2ForCausalLM, GQA),
    "qwen2-window": (
        Qwen2Config,
        Qwen2ForCausalLM,
        GQA | {"use_sliding_window": True, "sliding_window": 7, "max_window_layers": 1},
    ),
    "qwen3": (Qwen3Config, Qwen3ForCausalLM, GQA | {"head_dim": 8}),
    "falcon-7b": (FalconConfig, FalconForCausalLM, {"bias": False}),
    "falcon-new": (
        FalconConfig,
        FalconForCausalLM,
        {"bias": False, "new_decoder_architecture": True, "num_kv_heads": 2},
    ),
}


class WideNorm(nn.Module):
    """RMSNorm in the dtype of its input; transformers' computes in float32."""

    def __init__(self, norm: Any) -> None:
        super().__init__()
        self.weight: nn.Parameter = norm.weight
        self.eps: float = norm.variance_epsilon

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.weight * x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + self.eps)
        return out


def build_model(
    name: str = "llama",
    *,
    dtype: torch.dtype = torch.float64,
    wide_norms: bool = True,
    **sizes: Any,
) -> PreTrainedModel:
    """A tiny model of a family with random weights, the same in every call."""
    register()
    config_type, model_type, more = MODELS[name]
    torch.manual_seed(0)
    config = config_type(**(SIZES | more | sizes))
    model: PreTrainedModel = model_type._from_config(
        config, attn_implementation=FAMILIES[config.model_type], dtype=dtype
    )
    if wide_norms:
        for parent in list(model.modules()):
            for child_name, child in list(parent.named_children()):
                if hasattr(child, "variance_epsilon"):
                    setattr(parent, child_name, WideNorm(child))
    return model.eval()


def as_examples(rows: Sequence[tuple[Sequence[int], int]]) -> list[TokenizedExample]:
    """Examples of (ids, prompt_len) pairs."""
    return [TokenizedExample(str(i), str(i), tuple(ids), n) for i, (ids, n) in enumerate(rows)]


def random_rows(num: int, seed: int = 0, shared: int = 12) -> list[TokenizedExample]:
    """Rows that share a prefix of up to `shared` tokens, then have 2 to 12 tokens of their own."""
    draw = torch.Generator().manual_seed(seed)

    def ids(length: int) -> list[int]:
        return [int(i) for i in torch.randint(0, VOCAB, (length,), generator=draw)]

    def number(low: int, high: int) -> int:
        return int(torch.randint(low, high, (), generator=draw))

    prefix, rows = ids(shared), []
    for _ in range(num):
        row = prefix[: number(0, shared + 1)] + ids(number(2, 13))
        rows.append((row, number(0, len(row))))
    return as_examples(rows)


def count_targets(examples: Sequence[TokenizedExample]) -> int:
    """Number of trained tokens of the rows."""
    return sum(num_target_tokens(len(e.input_ids), e.prompt_len) for e in examples)


def plain_backward(model: nn.Module, examples: Sequence[TokenizedExample]) -> float:
    """The mean loss per trained token; its gradients are left in the model.

    transformers' own forward and PyTorch's cross-entropy, one row at a time, without cache or mask.
    """
    base = model.get_base_model() if isinstance(model, PeftModel) else model
    total, loss = count_targets(examples), 0.0
    for example in examples:
        first = max(example.prompt_len, 1)
        ids = torch.tensor([example.input_ids])
        logits = base(input_ids=ids, use_cache=False).logits[0, first - 1 : -1]
        wide = torch.promote_types(logits.dtype, torch.float32)
        part = F.cross_entropy(logits.to(wide), ids[0, first:], reduction="sum") / total
        part.backward()
        loss += float(part.detach().double())
    return loss


def gradients(model: nn.Module) -> dict[str, Tensor]:
    """Copies of the gradients, by parameter name."""
    return {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}


def relative_error(got: dict[str, Tensor], want: dict[str, Tensor]) -> float:
    """The largest of |got - want| / |want| over tensors.

    A gradient that is zero but for rounding (of q_proj if each query sees one key) is compared with
    the norm of the whole gradient.
    """
    assert got.keys() == want.keys()
    sizes = {name: float(reference.double().norm()) for name, reference in want.items()}
    whole = sum(size**2 for size in sizes.values()) ** 0.5
    worst = 0.0
    for name, reference in want.items():
        difference = float((got[name].double() - reference.double()).norm())
        worst = max(worst, difference / (sizes[name] if sizes[name] > 1e-12 * whole else whole))
    return worst
