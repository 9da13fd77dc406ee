"""Full fine-tuning: every weight of the base is trained; a checkpoint is a whole model.

model = build(model_dir, config.method, dtype=torch.bfloat16, seed=42, device="cpu")
save(model, Path("checkpoints/..."), base_name="pocket")   # model.safetensors, config.json

Weights in bfloat16 have float32 masters in the optimizer (trainers/step/optimizer.py).
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
from trainers.methods.rewrite_weights import MODEL_CONFIG, MODEL_WEIGHTS
from trainers.models.load import load_base

# What a checkpoint must hold to be loaded, exported and pushed.
FILES = (MODEL_CONFIG, MODEL_WEIGHTS)
merge = merge_full


def check(model_dir: Path, method: FullMethod) -> None:
    """Whatever models/load.py can load can be trained."""


def build(
    model_dir: Path, method: FullMethod, *, dtype: torch.dtype, seed: int, device: str
) -> PreTrainedModel:
    """The base in `dtype` on `device`, all of it trainable; nothing is drawn from `seed`."""
    model = load_base(model_dir, dtype)
    model.to(device)  # type: ignore[arg-type]
    replace_mlps(model)
    return model.requires_grad_(True)


def save(model: PreTrainedModel, folder: Path, *, base_name: str) -> None:
    """model.safetensors, in the names and layout of Hugging Face, and the base's config.json.

    A tied head is the embedding and is written once, under the embedding's name.
    """
    save_file(
        {name: p.detach().cpu().contiguous() for name, p in model.named_parameters()},
        folder / MODEL_WEIGHTS,
        metadata={"format": "pt"},
    )
    shutil.copyfile(_origin(model) / MODEL_CONFIG, folder / MODEL_CONFIG)


def load(model: PreTrainedModel, folder: Path) -> None:
    """Put saved weights into `model`; every tensor must find its place."""
    tensors = load_file(folder / MODEL_WEIGHTS)
    for name, param in model.named_parameters():
        param.data.copy_(tensors.pop(name))
    assert not tensors, sorted(tensors)[:3]


def reload(model_dir: Path, checkpoint: Path) -> PreTrainedModel:
    """The checkpoint's model in float32, for what is checked against it."""
    model = load_base(model_dir, torch.float32)
    load(model, checkpoint)
    return model


@contextmanager
def untuned(model: PreTrainedModel) -> Iterator[None]:
    """In this context the model has the base's weights, read again from where it came from."""
    base = load_base(_origin(model), model.dtype)
    base.to(model.device)  # type: ignore[arg-type]
    _swap(model, base)
    try:
        yield
    finally:
        _swap(model, base)


def _origin(model: PreTrainedModel) -> Path:
    assert model.name_or_path, "built by load_base"
    return Path(model.name_or_path)


def _swap(a: torch.nn.Module, b: torch.nn.Module) -> None:
    for ours, theirs in zip(a.parameters(), b.parameters(), strict=True):
        ours.data, theirs.data = theirs.data, ours.data
