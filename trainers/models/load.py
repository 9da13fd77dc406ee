"""Load the base model: weights, compute dtype and tokenizer.

model = load_base(resolve_model("pocket"), torch.float32)
"""

from pathlib import Path

import torch
from peft import PeftModel
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    BitsAndBytesConfig,
    PreTrainedModel,
)
from transformers.tokenization_utils_base import PreTrainedTokenizerBase
from transformers.utils.logging import disable_progress_bar

from datasets_src.chat.base_template import reserve_pad
from datasets_src.errors import UserError
from trainers.kernels.attention import register
from trainers.models.resolve import attention_of

LanguageModel = PreTrainedModel | PeftModel


def compute_dtype(name: str) -> torch.dtype:
    """Resolve `model.dtype`: `auto` is bfloat16 where the hardware supports it, else float32.

    Raises:
        UserError: bfloat16 on a machine that emulates it, slower than float32.
    """
    native = _has_native_bfloat16()
    if name == "bfloat16" and not native:
        raise UserError(
            "model.dtype: bfloat16, but this machine has no AMX, AVX512_BF16 or bfloat16 GPU and "
            "emulates it, slower than float32; set dtype=float32, or auto"
        )
    return torch.bfloat16 if native and name != "float32" else torch.float32


def _has_native_bfloat16() -> bool:
    if torch.cuda.is_available():
        return torch.cuda.is_bf16_supported(including_emulation=False)
    is_avx512 = torch.backends.cpu.get_cpu_capability() == "AVX512"
    return torch.cpu._is_amx_tile_supported() or (
        is_avx512 and torch.cpu._is_avx512_bf16_supported()
    )


def load_tokenizer(model_dir: Path) -> PreTrainedTokenizerBase:
    """The tokenizer with left padding, for generation, and a pad token distinct from the eos."""
    tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(model_dir)
    tokenizer.padding_side = "left"
    reserve_pad(tokenizer)
    return tokenizer


def load_base(
    model_dir: Path,
    dtype: torch.dtype,
    *,
    quantisation: BitsAndBytesConfig | None = None,
    device: str = "cpu",
) -> PreTrainedModel:
    """The frozen base in `dtype`, in evaluation mode, on CPU unless it is quantised on `device`."""
    disable_progress_bar()  # the terminal shows a progress bar of ours
    register()
    model: PreTrainedModel = AutoModelForCausalLM.from_pretrained(
        model_dir,
        dtype=dtype,
        attn_implementation=attention_of(model_dir),
        quantization_config=quantisation,
        # Without a device map, a quantised base is put on a GPU if there is one.
        device_map=None if quantisation is None else {"": device},
    )
    model.requires_grad_(False)
    return model.eval()
