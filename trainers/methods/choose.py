"""The training method of a config, and the model it builds.

method = method_module(config.method)
method.check(model_dir, config.method)
model = build_model(config, model_dir)
method.save(model, folder, base_name="pocket")
method.load(model, folder)
with method.untuned(model): ...
method.merge(model_dir, folder, Path("merged"))
"""

from importlib import import_module
from pathlib import Path
from typing import cast

from trainers.config.schema import Config, Method
from trainers.methods.contract import TrainingMethod
from trainers.models.load import LanguageModel, compute_dtype


def method_module(method: Method) -> TrainingMethod:
    """The module that implements `method` (trainers/methods/lora.py, ...)."""
    return cast(TrainingMethod, import_module(f"trainers.methods.{method.method_type}"))


def build_model(config: Config, model_dir: Path) -> LanguageModel:
    """The base in `model_dir` with fresh trainable weights, as `config` trains and scores it.

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
