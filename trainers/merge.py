"""Merge a LoRA adapter into its base, one tensor at a time, bit-equal to PEFT's merge_and_unload.

report = merge_adapter(Path("base"), Path("adapter"), Path("merged"))
report.num_merged, report.num_tensors   # 21, 25

Memory is one tensor and its delta, however large the base. Whatever is not a merged weight
(tokenizer files above all: transformers 5 does not write them back whole) is the base's bytes.
"""

import json
import math
import os
import re
import shutil
import struct
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import torch
from safetensors import safe_open

from datasets_src.errors import UserError

ADAPTER_CONFIG = "adapter_config.json"
ADAPTER_WEIGHTS = "adapter_model.safetensors"
INDEX = "model.safetensors.index.json"
MERGEABLE = (torch.float32, torch.bfloat16, torch.float16)
# Keys of adapter_config.json that do not change what a merge must do, or that are read below.
# Any other key that is set names a variant whose merge is different: it is refused by its name.
UNDERSTOOD = {
    *("alpha_pattern", "auto_mapping", "base_model_name_or_path", "exclude_modules"),
    *("fan_in_fan_out", "inference_mode", "init_lora_weights", "layers_pattern"),
    *("layers_to_transform", "lora_alpha", "lora_dropout", "megatron_core", "peft_type"),
    *("peft_version", "qalora_group_size", "r", "rank_pattern", "revision"),
    *("target_modules", "task_type", "use_rslora"),
}
# These initialisations leave the base as it is; PiSSA, OLoRA, CorDA ... move weights out of it.
PLAIN_INIT = (True, False, None, "gaussian", "orthogonal", "eva")
WEIGHT_SUFFIXES = (".safetensors", ".bin", ".pt", ".pth", ".gguf", ".h5", ".msgpack", ".onnx")


@dataclass(frozen=True)
class MergeReport:
    """`num_merged` of the base's `num_tensors` took a delta; `num_bytes` of weights written.

    `dtype` is that of the merged weights, the coarsest if there are several.
    """

    num_merged: int
    num_tensors: int
    num_bytes: int
    dtype: torch.dtype
    seconds: float


@dataclass(frozen=True)
class _Pair:
    """Names of one module's A [r, in] and B [out, r] in the adapter, and alpha / r."""

    a: str
    b: str
    scaling: float


def merge_adapter(base: Path, adapter: Path, out: Path) -> MergeReport:
    """Write the directory `out`: `base` with `adapter` (LoRA) merged in, in the base's dtypes.

    The delta is added as PEFT's default does, `W += (B @ A) * scaling` with half-precision
    adapters read as float32, so the bytes are those of `merge_and_unload()`. `out` appears, or
    is replaced, when whole.

    Raises:
        UserError: a variant of LoRA that is not plain, an adapter of another base, weights that
            are not safetensors or not floating point, a merged weight that is not finite.
    """
    start = time.monotonic()
    config = json.loads((adapter / ADAPTER_CONFIG).read_text(encoding="utf-8"))
    shards = _shards(base)
    part = out.with_name(f".{out.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    num_tensors = num_bytes = 0
    dtypes: set[torch.dtype] = set()
    with safe_open(adapter / ADAPTER_WEIGHTS, framework="pt") as lora:
        pairs = _pairs(config, {name: lora.get_slice(name).get_shape() for name in lora.keys()})  # noqa: SIM118
        _refuse_tied(base, pairs)
        _refuse_strangers(shards, pairs, base)
        deltas = _Deltas(lora, pairs, bool(config.get("fan_in_fan_out")), dtypes)
        for shard in shards:
            counts = _write_shard(shard, part / shard.name, deltas)
            num_tensors, num_bytes = num_tensors + counts[0], num_bytes + counts[1]
    _copy_rest(base, part)
    if out.exists():
        shutil.rmtree(out)
    part.rename(out)
    coarsest = max(dtypes, key=lambda dtype: torch.finfo(dtype).eps)
    return MergeReport(len(pairs), num_tensors, num_bytes, coarsest, time.monotonic() - start)


def _shards(base: Path) -> list[Path]:
    if (base / INDEX).is_file():
        index = json.loads((base / INDEX).read_text(encoding="utf-8"))
        return [base / name for name in sorted(set(index["weight_map"].values()))]
    if (base / "model.safetensors").is_file():
        return [base / "model.safetensors"]
    raise UserError(
        f"model.model_name_or_path: {base} holds no model.safetensors (nor {INDEX}); "
        "save the base as safetensors first"
    )


def _pairs(config: Mapping[str, Any], shapes: Mapping[str, list[int]]) -> dict[str, _Pair]:
    """Base tensor name -> its pair; every tensor of the adapter belongs to one."""
    faults = [
        f"adapter: {key}={value!r} cannot be merged tensor by tensor; train without it"
        for key, value in config.items()
        if (value and key not in UNDERSTOOD and not (key == "bias" and value == "none"))
        or (key == "peft_type" and value != "LORA")
        or (key == "init_lora_weights" and value not in PLAIN_INIT)
    ]
    rest = set(shapes)
    pairs: dict[str, _Pair] = {}
    for name in sorted(shapes):
        match = re.fullmatch(r"base_model\.model\.(.+)\.lora_A\.weight", name)
        other = name.replace(".lora_A.", ".lora_B.")
        if match is None or other not in shapes:
            continue
        rank, scaling = _scaling(config, match[1])
        if shapes[name][0] != rank or shapes[other][1] != rank:
            faults.append(
                f"adapter: {match[1]} has rank {shapes[name][0]}, its config says {rank}; "
                f"take {ADAPTER_CONFIG} and {ADAPTER_WEIGHTS} of one checkpoint"
            )
        pairs[f"{match[1]}.weight"] = _Pair(name, other, scaling)
        rest -= {name, other}
    if rest:
        faults.append(
            f"adapter: {sorted(rest)[0]} is no LoRA pair of a linear layer and cannot be merged; "
            "save the adapter with save_embedding_layers=False"
        )
    if not pairs:
        faults.append("adapter: holds no LoRA pair; nothing to merge")
    if faults:
        raise UserError(*faults)
    return pairs


def _scaling(config: Mapping[str, Any], module: str) -> tuple[int, float]:
    rank = int(_by_pattern(config.get("rank_pattern"), module, config["r"]))
    alpha = _by_pattern(config.get("alpha_pattern"), module, config["lora_alpha"])
    return rank, alpha / (math.sqrt(rank) if config.get("use_rslora") else rank)


def _by_pattern(patterns: Mapping[str, Any] | None, module: str, default: Any) -> Any:
    """PEFT's rule (peft.utils.other.get_pattern_key): the first pattern that ends the name."""
    for pattern, value in (patterns or {}).items():
        if re.match(rf"(.*\.)?({pattern})$", module):
            return value
    return default


def _refuse_tied(base: Path, pairs: Mapping[str, _Pair]) -> None:
    config = json.loads((base / "config.json").read_text(encoding="utf-8"))
    ends = ("lm_head.weight", "embed_tokens.weight")
    tied = [name for name in pairs if name.endswith(ends)]
    if config.get("tie_word_embeddings") and tied:
        raise UserError(
            f"adapter: {tied[0]} is tied to the other end of the model, a merge would change both;"
            " leave lm_head and embed_tokens out of method.lora_target_modules"
        )


def _refuse_strangers(shards: list[Path], pairs: Mapping[str, _Pair], base: Path) -> None:
    there: set[str] = set()
    for shard in shards:
        with safe_open(shard, framework="pt") as file:
            there.update(file.keys())
    if missing := sorted(set(pairs) - there):
        raise UserError(
            f"adapter: {missing[0]} ({len(missing)} in all) is not in {base}; "
            "name the base that the adapter was trained on"
        )


@dataclass(frozen=True)
class _Deltas:
    """Adds an adapter's deltas to weights by name; `dtypes` gathers the weights' types."""

    lora: Any
    pairs: Mapping[str, _Pair]
    transpose: bool
    dtypes: set[torch.dtype]

    def add_to(self, name: str, weight: torch.Tensor) -> torch.Tensor:
        """`weight` [out, in] + its delta, in place, in the weight's dtype."""
        if weight.dtype not in MERGEABLE:
            raise UserError(
                f"model: {name} is {weight.dtype}, a merge needs float32, bfloat16 or float16; "
                "give the base that is not quantised"
            )
        self.dtypes.add(weight.dtype)
        pair = self.pairs[name]
        a, b = self._factor(pair.a), self._factor(pair.b)
        delta = b @ a
        delta = (delta.T if self.transpose else delta) * pair.scaling
        if delta.shape != weight.shape:
            raise UserError(
                f"adapter: {name} is {tuple(weight.shape)} in the base and "
                f"{tuple(delta.shape)} in the adapter; name the base it was trained on"
            )
        # In place, so that the sum is made in float32 and rounded once, as PEFT's is.
        weight += delta
        if not torch.isfinite(weight).all():
            raise UserError(f"adapter: {name} is not finite after the merge; take another save")
        return weight

    def _factor(self, name: str) -> torch.Tensor:
        # PEFT loads half-precision adapters as float32 (autocast_adapter_dtype).
        tensor: torch.Tensor = self.lora.get_tensor(name)
        return tensor.float() if tensor.dtype in (torch.bfloat16, torch.float16) else tensor


def _write_shard(source: Path, target: Path, deltas: _Deltas) -> tuple[int, int]:
    """Copy one safetensors file, adding deltas on the way -> (tensors, bytes of tensors)."""
    with (
        safe_open(source, framework="pt") as tensors,
        source.open("rb") as raw,
        target.open("wb") as file,
    ):
        (size,) = struct.unpack("<Q", raw.read(8))
        text = raw.read(size)
        # Names, dtypes and shapes stay, so the header stays too, byte for byte.
        file.write(struct.pack("<Q", size) + text)
        header = {k: v for k, v in json.loads(text).items() if k != "__metadata__"}
        for name, entry in sorted(header.items(), key=lambda item: item[1]["data_offsets"][0]):
            begin, end = entry["data_offsets"]
            if name in deltas.pairs:
                merged = deltas.add_to(name, tensors.get_tensor(name).clone())
                file.write(merged.contiguous().view(torch.uint8).numpy().data)
            else:
                raw.seek(8 + size + begin)
                _copy_bytes(raw, file, end - begin)
        num_bytes = file.tell() - 8 - size
        file.flush()
        os.fsync(file.fileno())
    return len(header), num_bytes


def _copy_bytes(source: BinaryIO, target: BinaryIO, num_bytes: int) -> None:
    while num_bytes > 0:
        block = source.read(min(num_bytes, 1 << 22))
        assert block, "a safetensors file shorter than its header says"
        target.write(block)
        num_bytes -= len(block)


def _copy_rest(base: Path, out: Path) -> None:
    for file in sorted(base.iterdir()):
        weights = file.name.endswith(WEIGHT_SUFFIXES)
        if file.is_file() and not weights and not file.name.startswith("."):
            shutil.copyfile(file, out / file.name)
