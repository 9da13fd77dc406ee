"""Each method's step on the same base: CPU seconds, and memory of the weights.

    python -m tests.benchmarks.bench_methods      # last line: one JSON object

2 of Salamandra-2b's 24 layers in bfloat16 (float32 where that is emulated), a vocabulary of 8,000,
one packed micro-batch of 2,048 tokens; methods in turn, minimum of three rounds.
"""

import json
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from transformers import LlamaConfig, LlamaForCausalLM

from datasets_src.types import TokenizedExample
from trainers.config.schema import DoraMethod, FullMethod, LoraMethod, Method, QloraMethod
from trainers.methods.choose import method_module
from trainers.models.load import compute_dtype
from trainers.step.packing import PackedBatch, pack
from trainers.step.train_step import loss_part

METHODS: dict[str, Method] = {
    "lora": LoraMethod(),
    "qlora": QloraMethod(),
    "dora": DoraMethod(),
    "full": FullMethod(),
}
VOCAB, ROUNDS = 8_000, 3


def make_base(folder: Path) -> None:
    """Save a base with random weights in bfloat16."""
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=VOCAB, hidden_size=2048, intermediate_size=5440, num_hidden_layers=2,
        num_attention_heads=16, num_key_value_heads=16,
    )  # fmt: skip
    LlamaForCausalLM(config).bfloat16().save_pretrained(folder)


def make_batch() -> PackedBatch:
    """Eight rows of 256 tokens that share nothing; the second half of each is trained."""
    draw = torch.Generator().manual_seed(0)
    rows = torch.randint(5, VOCAB, (8, 256), generator=draw).tolist()
    return pack(
        [TokenizedExample(str(i), "", tuple(r), 128) for i, r in enumerate(rows)], min_share=8
    )


def weight_bytes(model: torch.nn.Module) -> int:
    """Bytes in memory of the weights of the decoder's linear layers."""
    return sum(
        p.untyped_storage().nbytes()
        for name, p in model.named_parameters()
        if "layers." in name and "lora_" not in name and p.dim() == 2
    )


def cpu_seconds(model: Any, batch: PackedBatch) -> float:
    """CPU seconds of forward and backward of one micro-batch."""
    started = time.process_time()
    loss_part(model.train(), batch, num_targets=1024).backward()
    model.zero_grad(set_to_none=True)
    return time.process_time() - started


def main() -> None:
    dtype, batch = compute_dtype("auto"), make_batch()
    with tempfile.TemporaryDirectory() as scratch:
        make_base(Path(scratch))
        models = {
            name: method_module(m).build(Path(scratch), m, dtype=dtype, seed=0, device="cpu")
            for name, m in METHODS.items()
        }
        for model in models.values():
            cpu_seconds(model, batch)
        times_of: dict[str, list[float]] = {name: [] for name in models}
        for _ in range(ROUNDS):
            for name, model in models.items():
                times_of[name].append(cpu_seconds(model, batch))
    seconds = {name: min(times) for name, times in times_of.items()}
    table = {
        name: {
            "cpu_s": round(seconds[name], 3),
            "over_lora": round(seconds[name] / seconds["lora"], 3),
            "weights": round(weight_bytes(model) / weight_bytes(models["lora"]), 3),
        }
        for name, model in models.items()
    }
    for name, row in table.items():
        print(name, row)
    print(json.dumps({"bench": "methods", "dtype": str(dtype), **table}))


if __name__ == "__main__":
    main()
