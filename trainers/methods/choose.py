"""The module of a method: what trains, how it is saved, and how the base is asked.

how = method_module(config.method)
how.check(model_dir, config.method)
model = how.build(model_dir, config.method, dtype=torch.bfloat16, seed=42, device="cpu")
how.save(model, folder, base_name="pocket"); how.load(model, folder)
with how.untuned(model): ...
how.merge(model_dir, folder, Path("merged")); how.reload(model_dir, folder)
"""

from importlib import import_module
from types import ModuleType

from trainers.config.schema import Method


def method_module(method: Method) -> ModuleType:
    """FILES and the functions of `method`: check, build, save, load, untuned, merge, reload."""
    return import_module(f"trainers.methods.{method.method_type}")
