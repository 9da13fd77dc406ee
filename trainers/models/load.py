"""The base model: its tokenizer, its weights, its compute type.

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
    """`auto` is bfloat16 where the hardware multiplies it natively, else float32.

    Raises:
        UserError: bfloat16 is asked for where it is emulated, slower than float32.
    """
    native = _multiplies_bfloat16()
    if name == "bfloat16" and not native:
        raise UserError(
            "model.dtype: bfloat16, but this machine has no AMX, AVX512_BF16 or bfloat16 GPU and "
            "emulates it, slower than float32; set dtype=float32, or auto"
        )
    return torch.bfloat16 if native and name != "float32" else torch.float32


def _multiplies_bfloat16() -> bool:
    if torch.cuda.is_available():
        return torch.cuda.is_bf16_supported(including_emulation=False)
    is_avx512 = torch.backends.cpu.get_cpu_capability() == "AVX512"
    return torch.cpu._is_amx_tile_supported() or (
        is_avx512 and torch.cpu._is_avx512_bf16_supported()
    )


def load_tokenizer(model_dir: Path) -> PreTrainedTokenizerBase:
    """The tokenizer with left padding (generation), and a pad token that is never the eos."""
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
    """The frozen base in `dtype`, in evaluation mode; `device` is where it is quantised."""
    disable_progress_bar()  # one of ours is on the terminal already
    register()
    model: PreTrainedModel = AutoModelForCausalLM.from_pretrained(
        model_dir,
        dtype=dtype,
        attn_implementation=attention_of(model_dir),
        quantization_config=quantisation,
        # Without it a quantised base goes to a GPU wherever one is.
        device_map=None if quantisation is None else {"": device},
    )
    model.requires_grad_(False)
    return model.eval()
