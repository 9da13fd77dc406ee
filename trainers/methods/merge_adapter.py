"""Merge an adapter into its base, one tensor at a time, bit-equal to PEFT's merge_and_unload.

report = merge_adapter(Path("base"), Path("adapter"), Path("merged"))
report.num_merged, report.num_tensors   # 21, 25

For LoRA, QLoRA and DoRA. It holds one tensor and its delta in memory, however large the base. It
merges into the original base, never into its 4-bit copy. rewrite_weights.py writes the files.
"""

import json
import math
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open

from datasets_src.errors import UserError
from trainers.methods.rewrite_weights import MergeReport, rewrite_model

ADAPTER_CONFIG = "adapter_config.json"
ADAPTER_WEIGHTS = "adapter_model.safetensors"
# Keys of adapter_config.json that do not affect the merge, or that are read below. Any other key
# that is set denotes a variant that merges differently, and is refused.
UNDERSTOOD = {
    *("alpha_pattern", "auto_mapping", "base_model_name_or_path", "exclude_modules"),
    *("fan_in_fan_out", "inference_mode", "init_lora_weights", "layers_pattern"),
    *("layers_to_transform", "lora_alpha", "lora_dropout", "megatron_core", "peft_type"),
    *("peft_version", "qalora_group_size", "r", "rank_pattern", "revision"),
    *("target_modules", "task_type", "use_dora", "use_rslora"),
}
# Initialisations that leave the base unchanged; PiSSA, OLoRA, CorDA ... subtract from its weights.
PLAIN_INIT = (True, False, None, "gaussian", "orthogonal", "eva")


@dataclass(frozen=True)
class _Pair:
    """Adapter tensors of one module.

    Attributes:
        a, b: names of A [r, in] and B [out, r].
        magnitude: name of DoRA's magnitude of each row [out].
        scaling: alpha / r, or alpha / sqrt(r) with rsLoRA.
    """

    a: str
    b: str
    magnitude: str | None
    scaling: float


def merge_adapter(base: Path, adapter: Path, out: Path) -> MergeReport:
    """Write the directory `out`: `base` with `adapter` merged in, in the base's dtypes.

    As PEFT's default: `W += (B @ A) * scaling`, half-precision adapters read as float32, so the
    bytes equal those of `merge_and_unload()`. `out` is created or replaced atomically.

    Raises:
        UserError: an unsupported variant of LoRA, an adapter of another base, weights that are not
            safetensors or not floating point, a merged weight that is not finite.
    """
    config = json.loads((adapter / ADAPTER_CONFIG).read_text(encoding="utf-8"))
    with safe_open(adapter / ADAPTER_WEIGHTS, framework="pt") as lora:
        pairs = _pairs(config, {name: lora.get_slice(name).get_shape() for name in lora.keys()})  # noqa: SIM118
        _refuse_tied(base, pairs)
        return rewrite_model(base, out, _Deltas(lora, pairs, bool(config.get("fan_in_fan_out"))))


def _pairs(config: Mapping[str, Any], shapes: Mapping[str, list[int]]) -> dict[str, _Pair]:
    """Base tensor name -> its pair; a tensor of the adapter without a pair is a fault."""
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
        b_name = name.replace(".lora_A.", ".lora_B.")
        if match is None or b_name not in shapes:
            continue
        rank, scaling = _scaling(config, match[1])
        if shapes[name][0] != rank or shapes[b_name][1] != rank:
            faults.append(
                f"adapter: {match[1]} has rank {shapes[name][0]}, its config says {rank}; "
                f"take {ADAPTER_CONFIG} and {ADAPTER_WEIGHTS} of one checkpoint"
            )
        magnitude = f"base_model.model.{match[1]}.lora_magnitude_vector"
        if config.get("use_dora") and magnitude not in shapes:
            faults.append(
                f"adapter: use_dora={config['use_dora']!r}, but {match[1]} has no "
                f"lora_magnitude_vector; take {ADAPTER_CONFIG} and {ADAPTER_WEIGHTS} of one "
                "checkpoint"
            )
        dora = magnitude if config.get("use_dora") else None
        pairs[f"{match[1]}.weight"] = _Pair(name, b_name, dora, scaling)
        rest -= {name, b_name, dora}
    if rest:
        faults.append(
            f"adapter: {sorted(rest)[0]} belongs to no LoRA pair of a linear layer; "
            "save the adapter with save_embedding_layers=False"
        )
    if not pairs:
        faults.append("adapter: it has no LoRA pair to merge; give the directory of a LoRA adapter")
    if faults:
        raise UserError(*faults)
    return pairs


def _scaling(config: Mapping[str, Any], module: str) -> tuple[int, float]:
    rank = int(_by_pattern(config.get("rank_pattern"), module, config["r"]))
    alpha = _by_pattern(config.get("alpha_pattern"), module, config["lora_alpha"])
    return rank, alpha / (math.sqrt(rank) if config.get("use_rslora") else rank)


def _by_pattern(patterns: Mapping[str, Any] | None, module: str, default: Any) -> Any:
    """PEFT's rule (peft.utils.other.get_pattern_key): the first pattern that matches the end of
    the name."""
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
            f"adapter: {tied[0]} is tied to the other embedding, so a merge would change both;"
            " leave lm_head and embed_tokens out of method.lora_target_modules"
        )


@dataclass(frozen=True)
class _Deltas:
    """Adds each pair's delta to its weight, as PEFT merges."""

    lora: Any
    pairs: Mapping[str, _Pair]
    transpose: bool

    @property
    def names(self) -> Collection[str]:
        return self.pairs.keys()

    def change(self, name: str, weight: torch.Tensor) -> torch.Tensor:
        """`weight` [out, in] plus its delta, in the weight's dtype; may overwrite `weight`."""
        pair = self.pairs[name]
        a, b = self._factor(pair.a), self._factor(pair.b)
        delta = b @ a
        delta = (delta.T if self.transpose else delta) * pair.scaling
        if delta.shape != weight.shape:
            raise UserError(
                f"adapter: {name} is {tuple(weight.shape)} in the base and "
                f"{tuple(delta.shape)} in the adapter; name the base it was trained on"
            )
        if pair.magnitude is not None:
            return self._merge_dora(weight, delta, self._factor(pair.magnitude))
        # In place, so that the sum is computed in float32 and rounded once, as in PEFT.
        weight += delta
        return weight

    def _merge_dora(
        self, weight: torch.Tensor, delta: torch.Tensor, magnitude: torch.Tensor
    ) -> torch.Tensor:
        """DoRA (peft.tuners.lora.variants): scale each row of the sum to its trained magnitude."""
        rows = weight.T + delta.T if self.transpose else weight + delta
        factor = (magnitude / torch.linalg.norm(rows, dim=1).to(rows.dtype)).view(-1, 1)
        return ((factor.T if self.transpose else factor) * (weight + delta)).to(weight.dtype)

    def _factor(self, name: str) -> torch.Tensor:
        # PEFT loads half-precision adapters as float32 (autocast_adapter_dtype).
        tensor: torch.Tensor = self.lora.get_tensor(name)
        return tensor.float() if tensor.dtype in (torch.bfloat16, torch.float16) else tensor
