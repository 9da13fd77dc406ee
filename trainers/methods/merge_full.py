"""Convert a fully fine-tuned checkpoint to its base's dtypes, shards and tokenizer files.

report = merge_full(Path("base"), Path("checkpoints/step-000140.a1b2c3"), Path("merged"))
"""

import json
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open

from datasets_src.errors import UserError
from trainers.methods.rewrite_weights import (
    MODEL_CONFIG,
    MergeReport,
    rewrite_model,
    weight_names,
)
from trainers.models.weight_files import MODEL_WEIGHTS

HEAD = "lm_head.weight"
EMBEDDINGS = ("embed_tokens.weight", "word_embeddings.weight")


def merge_full(base: Path, checkpoint: Path, out: Path) -> MergeReport:
    """Write the directory `out`: `base` with the checkpoint's weights, in the base's dtypes.

    Raises:
        UserError: a checkpoint of another base, or a weight that is not finite.
    """
    with safe_open(checkpoint / MODEL_WEIGHTS, framework="pt") as tuned:
        names = {name: name for name in tuned.keys()}  # noqa: SIM118
        config = json.loads((base / MODEL_CONFIG).read_text(encoding="utf-8"))
        # The base's files may hold a tied head as well as its embedding.
        if config.get("tie_word_embeddings") and HEAD in weight_names(base):
            [names[HEAD]] = [name for name in names if name.endswith(EMBEDDINGS)]
        return rewrite_model(base, out, _Tuned(tuned, names))


@dataclass(frozen=True)
class _Tuned:
    """Replaces weights by those of the checkpoint; `sources`: base name -> name there."""

    tuned: Any
    sources: dict[str, str]

    @property
    def names(self) -> Collection[str]:
        return self.sources.keys()

    def change(self, name: str, weight: torch.Tensor) -> torch.Tensor:
        """The checkpoint's weight in the base's dtype."""
        tensor: torch.Tensor = self.tuned.get_tensor(self.sources[name])
        if tensor.shape != weight.shape:
            raise UserError(
                f"checkpoint: {name} is {tuple(weight.shape)} in the base and "
                f"{tuple(tensor.shape)} in the checkpoint; name the base it was trained on"
            )
        return tensor.to(weight.dtype)
