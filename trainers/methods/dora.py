"""DoRA with PEFT: LoRA sets the direction of each row of a weight, a trained magnitude its norm.

    W' = m * (W + scaling * B A) / |W + scaling * B A|      one m and one norm for each row

model = build(model_dir, config.method, dtype=torch.bfloat16, seed=42, device="cpu")

The norm is treated as a constant in the gradient, as in the paper (arXiv 2402.09353, 4.3).
"""

from pathlib import Path

import torch
from peft import PeftModel
from peft.tuners.lora import LoraLayer

from trainers.config.schema import DoraMethod
from trainers.methods import lora
from trainers.models.load import load_base

FILES, save, load, untuned = lora.FILES, lora.save, lora.load, lora.untuned
merge, reload = lora.merge, lora.reload


def check(model_dir: Path, method: DoraMethod) -> None:
    """As for LoRA."""
    lora.check_targets(model_dir, method.lora_target_modules)


def build(
    model_dir: Path, method: DoraMethod, *, dtype: torch.dtype, seed: int, device: str
) -> PeftModel:
    """The base in `dtype` on `device`, with a fresh adapter that leaves it unchanged."""
    base = load_base(model_dir, dtype)
    base.to(device)  # type: ignore[arg-type]
    model = lora.add_adapter(base, method, seed=seed)
    _init_magnitudes(model)
    return model


def _init_magnitudes(model: PeftModel) -> None:
    """Set each magnitude to its row's norm in float32.

    PEFT computes it in the base's dtype and divides by a float32 norm: in bfloat16, an untrained
    adapter would scale every row by up to 1 ± 1/256.
    """
    for module in model.modules():
        if isinstance(module, LoraLayer):
            weight = module.get_base_layer().weight
            assert isinstance(weight, torch.Tensor)
            wide = torch.promote_types(weight.dtype, torch.float32)
            [magnitude] = module.lora_magnitude_vector.values()
            magnitude.weight.data = torch.linalg.norm(weight.to(wide), dim=1)
