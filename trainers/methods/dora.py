"""DoRA by PEFT: LoRA turns each row of a weight, a trained number gives its length.

    W' = m * (W + scaling * B A) / |W + scaling * B A|      one m and one norm for each row

model = build(model_dir, config.method, dtype=torch.bfloat16, seed=42, device="cpu")

The norm is taken as a constant in the gradient, as in the paper (arXiv 2402.09353, 4.3).
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
    """As of LoRA."""
    lora.check_targets(model_dir, method.lora_target_modules)


def build(
    model_dir: Path, method: DoraMethod, *, dtype: torch.dtype, seed: int, device: str
) -> PeftModel:
    """The base in `dtype` on `device`, with a fresh adapter that changes nothing yet."""
    base = load_base(model_dir, dtype)
    base.to(device)  # type: ignore[arg-type]
    model = lora.add_adapter(base, method, seed=seed)
    _measure_rows(model)
    return model


def _measure_rows(model: PeftModel) -> None:
    """Set each m to its row's length in float32.

    PEFT measures in the base's dtype and divides by a float32 norm: in bfloat16 every row of an
    untrained adapter would be off by up to 1/256.
    """
    for module in model.modules():
        if isinstance(module, LoraLayer):
            weight = module.get_base_layer().weight
            assert isinstance(weight, torch.Tensor)
            wide = torch.promote_types(weight.dtype, torch.float32)
            [length] = module.lora_magnitude_vector.values()
            length.weight.data = torch.linalg.norm(weight.to(wide), dim=1)
