"""The training method of a config: a module of functions (contract.py). Imports no torch.

method = method_module(config.method)
method.check(model_dir, config.method)
model = method.build(model_dir, config.method, dtype=torch.bfloat16, seed=42, device="cpu")
method.save(model, folder, base_name="pocket")
method.load(model, folder)
with method.untuned(model): ...
method.merge(model_dir, folder, Path("merged"))
"""

from importlib import import_module
from typing import TYPE_CHECKING, cast

from trainers.config.schema import Method

if TYPE_CHECKING:
    from trainers.methods.contract import TrainingMethod


def method_module(method: Method) -> "TrainingMethod":
    """The module that implements `method` (trainers/methods/lora.py, ...)."""
    return cast("TrainingMethod", import_module(f"trainers.methods.{method.method_type}"))
