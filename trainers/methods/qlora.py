"""QLoRA: LoRA on a base with linear layers in bitsandbytes' 4-bit NormalFloat.

model = build(model_dir, config.method, dtype=torch.bfloat16, seed=42, device="cpu")

A weight takes 4.13 bits with double quantisation, 4.5 without (arXiv 2305.14314), and is
dequantised to `dtype` for each product. Embeddings, norms and the output head stay in `dtype`.
"""

from pathlib import Path

import torch
from peft import PeftModel
from torch import nn
from transformers import BitsAndBytesConfig, PreTrainedModel

from datasets_src.errors import UserError
from trainers.config.schema import QloraMethod
from trainers.methods import lora
from trainers.models.load import load_base

FILES, save, load, untuned = lora.FILES, lora.save, lora.load, lora.untuned
# A merge, and its reference, use the original weights, never the 4-bit ones.
merge, reload = lora.merge, lora.reload


def check(model_dir: Path, method: QloraMethod) -> None:
    """Check the target modules, that the model can be quantised, and that bitsandbytes imports.

    Raises:
        UserError: with the setting or package to use instead.
    """
    lora.check_targets(model_dir, method.lora_target_modules)
    layers = lora.linear_layers(model_dir).items()
    # bitsandbytes replaces plain linear layers only and silently skips subclasses.
    for name, layer in layers:
        if type(layer) is not nn.Linear:
            raise UserError(
                f"method.method_type: qlora cannot quantise the {type(layer).__name__} layers "
                f"(such as {name}) of {model_dir}; set method_type=lora"
            )
    try:
        import bitsandbytes  # noqa: F401
    except ImportError as error:
        raise UserError(
            f"method.method_type: qlora needs the package bitsandbytes ({error}); install it by "
            "pip install -c constraints.txt --group qlora, or set method_type=lora"
        ) from None


def build(
    model_dir: Path, method: QloraMethod, *, dtype: torch.dtype, seed: int, device: str
) -> PeftModel:
    """The 4-bit base on `device`, computing in `dtype`, with a fresh adapter in float32."""
    base = load_quantised(model_dir, method, dtype=dtype, device=device)
    return lora.add_adapter(base, method, seed=seed)


def load_quantised(
    model_dir: Path, method: QloraMethod, *, dtype: torch.dtype, device: str
) -> PreTrainedModel:
    """The base without an adapter, quantised tensor by tensor while it is read."""
    from bitsandbytes.nn import Linear4bit

    quantisation = BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=method.bnb_4bit_use_double_quant,
        bnb_4bit_compute_dtype=dtype,
    )
    base = load_base(model_dir, dtype, quantisation=quantisation, device=device)
    for layer in base.modules():
        if isinstance(layer, Linear4bit):
            # In evaluation on a CPU with AVX512_BF16, a layer would repack its weight in place for
            # a kernel that rounds the scales to bfloat16 and has no backward: scores would differ
            # from the trained model's, and the next training step would fail.
            layer.support_avx512bf16_for_cpu = False
    return base
