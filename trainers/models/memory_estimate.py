"""What a worker of a config takes before it is started: memory by parts, and bytes on disk.

footprint(config, model_dir).private_bytes   what each worker takes for itself
footprint(config, model_dir).shared_bytes    the base, once a node: its file is mapped, not read

Estimates from shapes alone; no weight is loaded. `python -m jobs.plan CONFIG.yaml` prints them.
"""

import json
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM

from trainers.config.schema import AdapterMethod, Config
from trainers.kernels.head_loss import CHUNK_ROWS
from trainers.models.load import compute_dtype

# Python, torch, transformers, Ray and the task of a worker that has loaded nothing, measured.
IMPORTS_BYTES = 480 * 2**20
# Of the base's bytes, what a worker takes besides the mapped file; measured: 0.13 to 0.2.
BESIDE_MAPPED = 0.2
# Values that a layer keeps for its gradient, a token: in widths of the model, and of its MLP.
KEPT_WIDTHS, KEPT_MLP = 9, 3
# What attention and the head compute with besides, in float32, a thread (tree_attention.py).
WORK_BYTES = 16 * 2**20
SAFETENSORS_WIDTH = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2, "I64": 8, "I32": 4, "I8": 1, "U8": 1}


@dataclass(frozen=True)
class Footprint:
    """Bytes of one worker by part. `shared_bytes` are the mapped base's, once on each node."""

    shared_bytes: int
    imports_bytes: int
    base_bytes: int
    trained_bytes: int
    activation_bytes: int
    checkpoint_bytes: int

    @property
    def private_bytes(self) -> int:
        """What each worker takes for itself."""
        return self.imports_bytes + self.base_bytes + self.trained_bytes + self.activation_bytes


def footprint(config: Config, model_dir: Path) -> Footprint:
    """The estimate for a config."""
    shapes = _shapes(model_dir)
    width = torch.finfo(compute_dtype(config.model.dtype)).bits // 8
    on_disk, of_width = _weights(model_dir)
    mapped = of_width == width and config.method.method_type in ("lora", "dora")
    trained = num_trained(config, model_dir)
    base = int(on_disk * BESIDE_MAPPED) if mapped else _private_base(config, shapes, width)
    # Weight, gradient and two moments in float32; `full` holds its weights in the base's type too.
    held = trained * (4 * 4 if isinstance(config.method, AdapterMethod) else 4 * 3 + width)
    return Footprint(
        shared_bytes=on_disk if mapped else 0,
        imports_bytes=IMPORTS_BYTES,
        base_bytes=base,
        trained_bytes=held,
        activation_bytes=max(_training(config, shapes, width), _answering(config, shapes, width)),
        checkpoint_bytes=checkpoint_bytes(config, model_dir),
    )


def checkpoint_bytes(config: Config, model_dir: Path) -> int:
    """Bytes of one checkpoint: what is trained, and two moments of it in float32."""
    trained = num_trained(config, model_dir)
    if isinstance(config.method, AdapterMethod):
        return 3 * 4 * trained
    # `full` in bfloat16 saves a float32 copy besides.
    width = torch.finfo(compute_dtype(config.model.dtype)).bits // 8
    return trained * (3 * 4 if width == 4 else 2 + 3 * 4)


def num_trained(config: Config, model_dir: Path) -> int:
    """Trained parameters of a config."""
    method, shapes = config.method, _shapes(model_dir)
    if not isinstance(method, AdapterMethod):
        return int(shapes["num_parameters"])
    per_layer = [
        method.lora_r * (inner + outer) + (outer if method.method_type == "dora" else 0)
        for name, inner, outer in shapes["linear"]
        if name in method.lora_target_modules
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
    """Bytes of all weight files, and bytes of a value in them (from a safetensors header)."""
    paths = sorted(model_dir.glob("*.safetensors"))
    total = sum(path.stat().st_size for path in paths)
    if not paths:
        return 0, 0
    with paths[0].open("rb") as file:
        header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
    kinds = [t["dtype"] for name, t in header.items() if name != "__metadata__"]
    return total, SAFETENSORS_WIDTH.get(max(kinds, key=kinds.count), 0)


def _private_base(config: Config, shapes: dict[str, Any], width: int) -> int:
    """The base's weights, where they are no mapped file: converted, quantised, or trained."""
    if config.method.method_type == "full":
        return 0  # counted as trained
    num: int = shapes["num_parameters"]
    if config.method.method_type == "qlora":
        quantised = sum(inner * outer for _, inner, outer in shapes["linear"])
        return int(quantised * 0.57) + (num - quantised) * width
    return num * width


def _training(config: Config, shapes: dict[str, Any], width: int) -> int:
    """Of one micro-batch at its largest, without gradient checkpointing."""
    kept = KEPT_WIDTHS * shapes["hidden"] + KEPT_MLP * shapes["mlp"] + 2 * shapes["kv"]
    layers: int = shapes["num_layers"]
    logits = CHUNK_ROWS * int(shapes["vocab"])
    activations = config.train.max_tokens_per_micro_batch * layers * kept
    return (activations + logits) * width + WORK_BYTES * torch.get_num_threads()


def _answering(config: Config, shapes: dict[str, Any], width: int) -> int:
    """Keys and values of a batch of the longest prompts and replies."""
    tokens = config.eval.eval_batch_size * (config.data.max_length + config.eval.max_new_tokens)
    layers: int = shapes["num_layers"]
    return tokens * layers * 2 * int(shapes["kv"]) * width
