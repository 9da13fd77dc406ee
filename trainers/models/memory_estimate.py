"""Estimate a worker's memory and disk use from shapes alone, without loading weights.

footprint(config, model_dir).private_bytes   memory of each worker
footprint(config, model_dir).shared_bytes    memory-mapped base, once per node

`python -m jobs.plan CONFIG.yaml` prints the estimate.
"""

import json
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM

from trainers.config.schema import ALL_LINEAR, AdapterMethod, Config
from trainers.kernels.head_loss import CHUNK_ROWS
from trainers.models.load import compute_dtype
from trainers.models.weight_files import weight_files

# A worker with Python, torch, transformers, Ray and the task imported but nothing loaded; measured.
IMPORTS_BYTES = 480 * 2**20
# Private memory of a memory-mapped base, as a share of its bytes; measured: 0.13 to 0.2.
PRIVATE_OF_MAPPED = 0.2
# Activations that a layer saves for backward, per token: multiples of the hidden and MLP widths.
SAVED_HIDDEN, SAVED_MLP = 9, 3
# Float32 workspace of attention and the output head, per thread (tree_attention.py).
WORKSPACE_BYTES = 16 * 2**20
SAFETENSORS_WIDTH = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2, "I64": 8, "I32": 4, "I8": 1, "U8": 1}


@dataclass(frozen=True)
class Footprint:
    """Memory of one worker by part, in bytes; `shared_bytes`: the mapped base, once per node."""

    shared_bytes: int
    imports_bytes: int
    base_bytes: int
    trained_bytes: int
    activation_bytes: int
    checkpoint_bytes: int

    @property
    def private_bytes(self) -> int:
        """Memory that each worker takes for itself."""
        return self.imports_bytes + self.base_bytes + self.trained_bytes + self.activation_bytes


def footprint(config: Config, model_dir: Path) -> Footprint:
    """The estimate for a config."""
    shapes = _shapes(model_dir)
    width = torch.finfo(compute_dtype(config.model.dtype)).bits // 8
    on_disk, of_width = _weights(model_dir)
    mapped = of_width == width and config.method.method_type in ("lora", "dora")
    trained = num_trained(config, model_dir)
    base = int(on_disk * PRIVATE_OF_MAPPED) if mapped else _private_base(config, shapes, width)
    # Weight, gradient and two moments in float32; `full` has weights in the compute dtype too.
    trained_bytes = trained * (4 * 4 if isinstance(config.method, AdapterMethod) else 4 * 3 + width)
    return Footprint(
        shared_bytes=on_disk if mapped else 0,
        imports_bytes=IMPORTS_BYTES,
        base_bytes=base,
        trained_bytes=trained_bytes,
        activation_bytes=max(
            _training_bytes(config, shapes, width), _generation_bytes(config, shapes, width)
        ),
        checkpoint_bytes=checkpoint_bytes(config, model_dir),
    )


def checkpoint_bytes(config: Config, model_dir: Path) -> int:
    """Bytes of one checkpoint: the trained weights, and two moments of each in float32."""
    trained = num_trained(config, model_dir)
    if isinstance(config.method, AdapterMethod):
        return 3 * 4 * trained
    # `full` in bfloat16 saves float32 master weights too.
    width = torch.finfo(compute_dtype(config.model.dtype)).bits // 8
    return trained * (3 * 4 if width == 4 else 2 + 3 * 4)


def num_trained(config: Config, model_dir: Path) -> int:
    """Number of trainable parameters."""
    method, shapes = config.method, _shapes(model_dir)
    if not isinstance(method, AdapterMethod):
        return int(shapes["num_parameters"])
    per_layer = [
        method.lora_r * (inner + outer) + (outer if method.method_type == "dora" else 0)
        for name, inner, outer in shapes["linear"]
        if method.lora_target_modules == ALL_LINEAR or name in method.lora_target_modules
    ]
    return sum(per_layer)


@lru_cache(maxsize=4)
def _shapes(model_dir: Path) -> dict[str, Any]:
    config = AutoConfig.from_pretrained(model_dir)
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config)
    head: Any = model.get_output_embeddings()
    linear = [
        (name.rsplit(".", 1)[-1], module.in_features, module.out_features)
        for name, module in model.named_modules()
        if isinstance(module, torch.nn.Linear) and module is not head
    ]
    return {
        "linear": linear,
        "num_parameters": sum(p.numel() for p in model.parameters()),
        "num_layers": config.num_hidden_layers,
        "hidden": config.hidden_size,
        "mlp": getattr(config, "intermediate_size", None) or 4 * config.hidden_size,
        "kv": _kv_width(config),
        "vocab": head.out_features,
    }


def _kv_width(config: Any) -> int:
    heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
    return int(heads * config.hidden_size // config.num_attention_heads)


def _weights(model_dir: Path) -> tuple[int, int]:
    """(bytes of all weight files, bytes per value by the first safetensors header)."""
    paths = weight_files(model_dir)
    total = sum(path.stat().st_size for path in paths)
    if not paths:
        return 0, 0
    with paths[0].open("rb") as file:
        header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
    kinds = [t["dtype"] for name, t in header.items() if name != "__metadata__"]
    return total, SAFETENSORS_WIDTH.get(max(kinds, key=kinds.count), 0)


def _private_base(config: Config, shapes: dict[str, Any], width: int) -> int:
    """Bytes of base weights that cannot be memory-mapped: converted, quantised, or trained."""
    if config.method.method_type == "full":
        return 0  # counted in trained_bytes
    num: int = shapes["num_parameters"]
    if config.method.method_type == "qlora":
        quantised = sum(inner * outer for _, inner, outer in shapes["linear"])
        return int(quantised * 0.57) + (num - quantised) * width
    return num * width


def _training_bytes(config: Config, shapes: dict[str, Any], width: int) -> int:
    """Activations of the largest micro-batch, without gradient checkpointing."""
    saved = SAVED_HIDDEN * shapes["hidden"] + SAVED_MLP * shapes["mlp"] + 2 * shapes["kv"]
    layers: int = shapes["num_layers"]
    logits = CHUNK_ROWS * int(shapes["vocab"])
    activations = config.train.max_tokens_per_micro_batch * layers * saved
    return (activations + logits) * width + WORKSPACE_BYTES * torch.get_num_threads()


def _generation_bytes(config: Config, shapes: dict[str, Any], width: int) -> int:
    """KV cache of a batch of the longest prompts and replies."""
    tokens = config.eval.eval_batch_size * (config.data.max_length + config.eval.max_new_tokens)
    layers: int = shapes["num_layers"]
    return tokens * layers * 2 * int(shapes["kv"]) * width
