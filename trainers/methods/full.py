"""Full fine-tuning: all weights of the base are trained, and a checkpoint is a full model.

model = build(model_dir, config.method, dtype=torch.bfloat16, seed=42, device="cpu")
save(model, Path("checkpoints/..."), base_name="pocket")   # model.safetensors, config.json

bfloat16 weights have float32 master weights in the optimizer (trainers/step/optimizer.py).
"""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from transformers import PreTrainedModel

from trainers.config.schema import FullMethod
from trainers.kernels.gated_mlp import replace_mlps
from trainers.methods.merge_full import merge_full
from trainers.methods.rewrite_weights import MODEL_CONFIG
from trainers.models.load import load_base
from trainers.models.weight_files import MODEL_WEIGHTS

# Files that a checkpoint must hold to be loaded, exported and pushed.
FILES = (MODEL_CONFIG, MODEL_WEIGHTS)
merge = merge_full


def check(model_dir: Path, method: FullMethod) -> None:
    """Nothing to check: any base that models/load.py loads can be trained."""


def build(
    model_dir: Path, method: FullMethod, *, dtype: torch.dtype, seed: int, device: str
) -> PreTrainedModel:
    """The base in `dtype` on `device`, all weights trainable; `seed` is unused."""
    model = load_base(model_dir, dtype)
    model.to(device)  # type: ignore[arg-type]
    replace_mlps(model)
    return model.requires_grad_(True)


def save(model: PreTrainedModel, folder: Path, *, base_name: str) -> None:
    """Write model.safetensors, with Hugging Face's names and layout, and the base's config.json.

    A tied head is written once, under the embedding's name.
    """
    save_file(
        {name: p.detach().cpu().contiguous() for name, p in model.named_parameters()},
        folder / MODEL_WEIGHTS,
        metadata={"format": "pt"},
    )
    shutil.copyfile(_base_dir(model) / MODEL_CONFIG, folder / MODEL_CONFIG)


def load(model: PreTrainedModel, folder: Path) -> None:
    """Load the weights of a checkpoint into `model`; a missing or unexpected tensor fails."""
    tensors = load_file(folder / MODEL_WEIGHTS)
    for name, param in model.named_parameters():
        param.data.copy_(tensors.pop(name))
    assert not tensors, sorted(tensors)[:3]


def reload(model_dir: Path, checkpoint: Path) -> PreTrainedModel:
    """The checkpoint's model in float32, as the reference for an exported one."""
    model = load_base(model_dir, torch.float32)
    load(model, checkpoint)
    return model


@contextmanager
def untuned(model: PreTrainedModel) -> Iterator[None]:
    """In this context the model has the base's weights, read again from its directory."""
    base = load_base(_base_dir(model), model.dtype)
    base.to(model.device)  # type: ignore[arg-type]
    _swap_weights(model, base)
    try:
        yield
    finally:
        _swap_weights(model, base)


def _base_dir(model: PreTrainedModel) -> Path:
    assert model.name_or_path, "built by load_base"
    return Path(model.name_or_path)


def _swap_weights(a: torch.nn.Module, b: torch.nn.Module) -> None:
    for ours, theirs in zip(a.parameters(), b.parameters(), strict=True):
        ours.data, theirs.data = theirs.data, ours.data
