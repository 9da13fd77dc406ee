"""Copy a model directory with some weights changed, one tensor at a time.

report = rewrite_model(Path("base"), Path("merged"), change)
report.num_merged, report.num_tensors   # 21, 25

Everything but the changed weights keeps the base's bytes: the headers of its weight files, and
above all its tokenizer files, which transformers 5 does not save completely.
"""

import json
import os
import shutil
import struct
import time
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Protocol

import torch
from safetensors import safe_open

from datasets_src.errors import UserError
from datasets_src.files import write_atomically
from trainers.models.weight_files import check_weights, weight_files

MODEL_CONFIG = "config.json"
MERGEABLE = (torch.float32, torch.bfloat16, torch.float16)
WEIGHT_SUFFIXES = (".safetensors", ".bin", ".pt", ".pth", ".gguf", ".h5", ".msgpack", ".onnx")


class Change(Protocol):
    """The weights that change, and their new values."""

    @property
    def names(self) -> Collection[str]:
        """Names of the weights that change; the base must have them all."""

    def change(self, name: str, weight: torch.Tensor) -> torch.Tensor:
        """The new value of a weight, in its dtype and shape; may overwrite `weight`."""


@dataclass(frozen=True)
class MergeReport:
    """What `rewrite_model` wrote.

    Attributes:
        num_merged: changed tensors, of the base's `num_tensors`.
        num_bytes: bytes of weights written.
        dtype: dtype of the changed weights, the coarsest if there are several.
    """

    num_merged: int
    num_tensors: int
    num_bytes: int
    dtype: torch.dtype
    seconds: float


def rewrite_model(base: Path, out: Path, change: Change) -> MergeReport:
    """Write the directory `out`: `base` with `change` applied, created or replaced atomically.

    Raises:
        UserError: the base has no safetensors, lacks a file or a weight, or a weight is not
            floating point, or is not finite after the change.
    """
    start = time.monotonic()
    check_weights(base)
    shards = weight_files(base)
    _refuse_unknown(base, change.names)
    num_tensors = num_bytes = 0
    dtypes: set[torch.dtype] = set()
    with write_atomically(out) as part:
        part.mkdir()
        for shard in shards:
            counts = _write_shard(shard, part / shard.name, change, dtypes)
            num_tensors, num_bytes = num_tensors + counts[0], num_bytes + counts[1]
        _copy_rest(base, part)
        if out.exists():
            shutil.rmtree(out)
    coarsest = max(dtypes, key=lambda dtype: torch.finfo(dtype).eps)
    seconds = time.monotonic() - start
    return MergeReport(len(change.names), num_tensors, num_bytes, coarsest, seconds)


def weight_names(base: Path) -> set[str]:
    """Names of all tensors in the weight files of `base`."""
    names: set[str] = set()
    for shard in weight_files(base):
        with safe_open(shard, framework="pt") as file:
            names.update(file.keys())
    return names


def _refuse_unknown(base: Path, names: Collection[str]) -> None:
    if missing := sorted(set(names) - weight_names(base)):
        raise UserError(
            f"adapter: {missing[0]} ({len(missing)} such weights) is not in {base}; "
            "give the base that it was trained on"
        )


def _write_shard(
    source: Path, target: Path, change: Change, dtypes: set[torch.dtype]
) -> tuple[int, int]:
    """Copy one safetensors file with its weights changed -> (tensors, bytes of tensors)."""
    with (
        safe_open(source, framework="pt") as tensors,
        source.open("rb") as raw,
        target.open("wb") as file,
    ):
        (size,) = struct.unpack("<Q", raw.read(8))
        text = raw.read(size)
        # Names, dtypes and shapes do not change, so the header is copied byte for byte.
        file.write(struct.pack("<Q", size) + text)
        header = {k: v for k, v in json.loads(text).items() if k != "__metadata__"}
        for name, entry in sorted(header.items(), key=lambda item: item[1]["data_offsets"][0]):
            begin, end = entry["data_offsets"]
            if name in change.names:
                changed = _changed(name, tensors.get_tensor(name), change)
                dtypes.add(changed.dtype)
                file.write(changed.contiguous().view(torch.uint8).numpy().data)
            else:
                raw.seek(8 + size + begin)
                _copy_bytes(raw, file, end - begin)
        num_bytes = file.tell() - 8 - size
        file.flush()
        os.fsync(file.fileno())
    return len(header), num_bytes


def _changed(name: str, weight: torch.Tensor, change: Change) -> torch.Tensor:
    if weight.dtype not in MERGEABLE:
        raise UserError(
            f"model: {name} is {weight.dtype}, but a merge needs float32, bfloat16 or float16; "
            "give a base that is not quantised"
        )
    changed = change.change(name, weight.clone())
    if not torch.isfinite(changed).all():
        raise UserError(f"adapter: {name} is not finite after the merge; export another checkpoint")
    assert changed.dtype == weight.dtype and changed.shape == weight.shape
    return changed


def _copy_bytes(source: BinaryIO, target: BinaryIO, num_bytes: int) -> None:
    while num_bytes > 0:
        block = source.read(min(num_bytes, 1 << 22))
        assert block, "the safetensors file is shorter than its header says"
        target.write(block)
        num_bytes -= len(block)


def _copy_rest(base: Path, out: Path) -> None:
    for file in sorted(base.iterdir()):
        weights = file.name.endswith(WEIGHT_SUFFIXES)
        if file.is_file() and not weights and not file.name.startswith("."):
            shutil.copyfile(file, out / file.name)
