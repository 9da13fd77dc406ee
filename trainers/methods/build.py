"""The model that a config trains and scores: the base with fresh trainable weights.

model = build_model(config, model_dir)
"""

from pathlib import Path

from trainers.config.schema import Config
from trainers.methods.choose import method_module
from trainers.models.load import LanguageModel, compute_dtype


def build_model(config: Config, model_dir: Path) -> LanguageModel:
    """The base in `model_dir` with fresh trainable weights.

    Raises:
        UserError: `model.dtype` is emulated on this machine.
    """
    return method_module(config.method).build(
        model_dir,
        config.method,
        dtype=compute_dtype(config.model.dtype),
        seed=config.train.seed,
        device="cuda" if config.scaling.use_gpu else "cpu",
    )
