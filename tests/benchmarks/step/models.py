"""The models of the step's benchmarks, their useful FLOPs, and the machine's peak.

make_base(SHAPES["2b"], folder)              # random weights in bfloat16, on disk
useful_flops(SHAPES["2b"], pack_step(rows))  # of one step as we take it
matmul_peak(torch.bfloat16)                  # FLOP/s of the fastest large product
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from transformers import LlamaConfig, LlamaForCausalLM

from datasets_src.batching.plan import cut_step
from datasets_src.types import TokenizedExample
from trainers.config.schema import TrainConfig
from trainers.step.packing import PackedBatch, pack

LORA_RANK = 16


@dataclass(frozen=True)
class Shape:
    """Sizes of a Llama model."""

    hidden: int
    intermediate: int
    layers: int
    heads: int
    vocab: int


SHAPES = {
    # 13 M parameters in the layers and 4 M in the head.
    "small": Shape(hidden=512, intermediate=1376, layers=4, heads=8, vocab=8_000),
    # 4 of Salamandra-2b's 24 layers, and the same fraction of its 256,000 pieces, so that the head
    # has the share of the work that it has in the full model.
    "2b": Shape(hidden=2048, intermediate=5440, layers=4, heads=16, vocab=42_666),
}


def make_base(shape: Shape, folder: Path) -> int:
    """Save a base with random weights to the tokenizer's `folder`; returns the weights' bytes."""
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=shape.vocab,
        hidden_size=shape.hidden,
        intermediate_size=shape.intermediate,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.heads,
        max_position_embeddings=8192,
    )
    LlamaForCausalLM(config).bfloat16().save_pretrained(folder)
    return sum(path.stat().st_size for path in folder.glob("*.safetensors"))


def pack_step(rows: Sequence[TokenizedExample]) -> list[PackedBatch]:
    """The micro-batches of our step on `rows`."""
    train = TrainConfig()
    batches = cut_step(
        rows,
        num_workers=1,
        max_tokens=train.max_tokens_per_micro_batch,
        min_share=train.min_share,
    )
    return [pack(batch.rows, min_share=train.min_share) for batch in batches]


def useful_flops(shape: Shape, batches: Sequence[PackedBatch]) -> float:
    """FLOPs that the packed tokens need, without recomputation or gradients of frozen weights.

    Per weight and token, 2 forward, 2 backward for the gradient of the input (which the first
    layer's q, k and v do not need) and 2 more for an adapter's own gradient; attention 4 per
    query-key pair and channel, twice that backward; the head at loss positions only.
    """
    h, i = shape.hidden, shape.intermediate
    sides = [*[(h, h)] * 4, *[(h, i)] * 3]  # q k v o, gate up down
    frozen = shape.layers * sum(a * b for a, b in sides)
    adapters = shape.layers * LORA_RANK * sum(a + b for a, b in sides)
    flops = 0.0
    for batch in batches:
        tokens = len(batch.ids)
        ends = batch.tree.ends
        pairs = int((ends - torch.arange(len(ends))).sum())
        flops += tokens * (4 * frozen - 2 * 3 * h * h + 6 * adapters)
        flops += 12 * pairs * h * shape.layers
        flops += 4 * len(batch.src) * shape.vocab * h
    return flops


def matmul_peak(dtype: torch.dtype) -> tuple[float, float]:
    """FLOPs of the fastest of several large products per wall second and per CPU second.

    On all of torch's threads. The latter is the better measure if other processes use the cores.
    """
    by_wall = by_cpu = 0.0
    for m, k, n in ((2048, 2048, 2048), (4096, 2048, 5440), (4096, 5440, 2048)):
        a, b = torch.randn(m, k).to(dtype), torch.randn(n, k).to(dtype)
        for _ in range(4):
            wall, cpu = time.perf_counter(), time.process_time()
            a @ b.t()
            by_wall = max(by_wall, 2 * m * k * n / (time.perf_counter() - wall))
            by_cpu = max(by_cpu, 2 * m * k * n / (time.process_time() - cpu))
    return by_wall, by_cpu
