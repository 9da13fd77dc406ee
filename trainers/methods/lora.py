"""LoRA by PEFT: add, save and load an adapter; the base stays frozen.

model = add_adapter(base, config.method, seed=42)
save_adapter(model, Path("checkpoints/..."), base_name="pocket")
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from peft.utils import get_peft_model_state_dict, set_peft_model_state_dict
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel

from datasets_src.errors import UserError
from trainers.config import LoraMethod
from trainers.methods.lora_linear import LoraLinear


def check_targets(model_dir: Path, targets: Sequence[str]) -> None:
    """Refuse target names that match no linear layer of the model; no weights are loaded.

    Raises:
        UserError: naming the targets that match nothing and the names that do exist.
    """
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(model_dir))
    head = model.get_output_embeddings()
    linear = {
        name.rsplit(".", 1)[-1]
        for name, module in model.named_modules()
        if isinstance(module, torch.nn.Linear) and module is not head
    }
    missing = [t for t in targets if t not in linear]
    if missing:
        raise UserError(
            f"method.lora_target_modules: {', '.join(missing)} match no layer of the model; "
            f"its linear layers are {', '.join(sorted(linear))}"
        )


def add_adapter(base: PreTrainedModel, method: LoraMethod, *, seed: int) -> PeftModel:
    """The base with a fresh adapter: float32 weights, A drawn from `seed`, B zero."""
    torch.manual_seed(seed)
    config = LoraConfig(
        task_type="CAUSAL_LM",
        r=method.lora_r,
        lora_alpha=method.lora_alpha,
        lora_dropout=method.lora_dropout,
        target_modules=list(method.lora_target_modules),
        use_rslora=method.use_rslora,
    )
    config._register_custom_module({torch.nn.Linear: LoraLinear})
    model = get_peft_model(base, config)
    assert isinstance(model, PeftModel)
    return model


def save_adapter(model: PeftModel, folder: Path, *, base_name: str) -> None:
    """adapter_model.safetensors and adapter_config.json, in PEFT's layout.

    Not `save_pretrained`: it may ask the Hub for the base's config, which fails offline.
    """
    state = get_peft_model_state_dict(model, save_embedding_layers=False)
    save_file(
        {name: tensor.detach().cpu().contiguous() for name, tensor in state.items()},
        folder / "adapter_model.safetensors",
        metadata={"format": "pt"},
    )
    config = model.peft_config["default"]
    local_name = config.base_model_name_or_path
    config.base_model_name_or_path = base_name
    config.inference_mode = True
    config.save_pretrained(str(folder))
    config.base_model_name_or_path, config.inference_mode = local_name, False


def load_adapter(model: PeftModel, folder: Path) -> None:
    """Put a saved adapter's weights into `model`; every tensor must find its place."""
    report: Any = set_peft_model_state_dict(model, load_file(folder / "adapter_model.safetensors"))
    assert not report.unexpected_keys, report.unexpected_keys[:3]
