"""What a training method is: a module of these functions (lora.py, dora.py, qlora.py, full.py).

method: TrainingMethod = lora        # mypy checks each module so in tests/trainers/methods
"""

from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Protocol

import torch

from trainers.methods.rewrite_weights import MergeReport
from trainers.models.load import LanguageModel


class TrainingMethod(Protocol):
    """A fine-tuning method. `config` is its own section of the config (`config.method`); `model`
    is what its `build` returned."""

    @property
    def FILES(self) -> tuple[str, ...]:
        """Files that a checkpoint must hold to be loaded, exported and pushed."""

    def check(self, model_dir: Path, config: Any, /) -> None:
        """Refuse what cannot work, from the base's config alone; no weights are loaded.

        Raises:
            UserError: naming what to use instead.
        """

    def build(
        self, model_dir: Path, config: Any, /, *, dtype: torch.dtype, seed: int, device: str
    ) -> LanguageModel:
        """Load the base, computing in `dtype` on `device`, with its trainable weights."""

    def save(self, model: Any, folder: Path, /, *, base_name: str) -> None:
        """Write FILES; `base_name` is the base as the user named it."""

    def load(self, model: Any, folder: Path, /) -> None:
        """Load the weights of a checkpoint into `model`; an unexpected tensor fails."""

    def untuned(self, model: Any, /) -> AbstractContextManager[None]:
        """In this context the model computes as its base does."""

    def merge(self, base: Path, checkpoint: Path, out: Path, /) -> MergeReport:
        """Write the model directory `out`: the base with a checkpoint's weights in its dtypes."""

    def reload(self, model_dir: Path, checkpoint: Path, /) -> LanguageModel:
        """The tuned model in float32, as the reference for an exported one."""
