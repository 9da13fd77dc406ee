"""LoRA with PEFT: add, save and load an adapter; the base stays frozen.

model = build(model_dir, config.method, dtype=torch.float32, seed=42, device="cpu")
save(model, Path("checkpoints/..."), base_name="pocket")
with untuned(model): ...

Every method is a module of these functions (contract.py); dora and qlora build another model and
share the rest.
"""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from peft.utils import get_peft_model_state_dict, set_peft_model_state_dict
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel

from datasets_src.errors import UserError
from trainers.config.schema import ALL_LINEAR, AdapterMethod, DoraMethod, LoraMethod
from trainers.kernels.gated_mlp import replace_mlps
from trainers.kernels.rms_norm import replace_norms
from trainers.methods.lora_linear import LoraLinear
from trainers.methods.merge_adapter import ADAPTER_CONFIG, ADAPTER_WEIGHTS, merge_adapter
from trainers.models.load import load_base

# Files that a checkpoint must hold to be loaded, merged and pushed.
FILES = (ADAPTER_CONFIG, ADAPTER_WEIGHTS)
merge = merge_adapter


def check(model_dir: Path, method: LoraMethod) -> None:
    """Check the target modules, before any weight is loaded.

    Raises:
        UserError: a target matches no layer, or one that cannot take an adapter.
    """
    check_targets(model_dir, method.lora_target_modules)


def build(
    model_dir: Path, method: LoraMethod, *, dtype: torch.dtype, seed: int, device: str
) -> PeftModel:
    """The base in `dtype` on `device`, with a fresh adapter in float32."""
    base = load_base(model_dir, dtype)
    base.to(device)  # type: ignore[arg-type]
    return add_adapter(base, method, seed=seed)


def untuned(model: PeftModel) -> AbstractContextManager[None]:
    """In this context the adapter is disabled."""
    return model.disable_adapter()


def reload(model_dir: Path, checkpoint: Path) -> PeftModel:
    """The original base with a saved adapter in float32, as the reference for an exported model."""
    return PeftModel.from_pretrained(load_base(model_dir, torch.float32), checkpoint).eval()


def linear_layers(model_dir: Path) -> dict[str, torch.nn.Linear]:
    """Name -> linear layer of the model, on the meta device, without the output head."""
    return _linear_layers(_meta_model(model_dir))


def check_targets(model_dir: Path, targets: str | Sequence[str]) -> None:
    """Refuse targets that cannot take an adapter; no weights are loaded.

    Raises:
        UserError: lists these targets and the names of the linear layers.
    """
    model = _meta_model(model_dir)
    linear = target_names(model, ALL_LINEAR)
    missing = [t for t in target_names(model, targets) if t not in linear]
    if not missing:
        return
    known = {name.rsplit(".", 1)[-1] for name, _ in model.named_modules()}
    if there := [target for target in missing if target in known]:
        raise UserError(
            f"method.lora_target_modules: {', '.join(there)} cannot take an adapter: it is no "
            "linear layer, or the output head (tied to the embeddings in many models); leave it "
            f"out, of {', '.join(sorted(linear))}"
        )
    raise UserError(
        f"method.lora_target_modules: {', '.join(missing)} match no layer of the model; "
        f"its linear layers are {', '.join(sorted(linear))}; set all-linear for all of them"
    )


def target_names(model: PreTrainedModel, targets: str | Sequence[str]) -> tuple[str, ...]:
    """`targets`, or for all-linear the names of all linear layers, in the order of the model."""
    if targets != ALL_LINEAR:
        return tuple(targets)
    return tuple(dict.fromkeys(name.rsplit(".", 1)[-1] for name in _linear_layers(model)))


def _meta_model(model_dir: Path) -> PreTrainedModel:
    with torch.device("meta"):
        model: PreTrainedModel = AutoModelForCausalLM.from_config(
            AutoConfig.from_pretrained(model_dir)
        )
    return model


def _linear_layers(model: PreTrainedModel) -> dict[str, torch.nn.Linear]:
    head = model.get_output_embeddings()
    return {
        name: module
        for name, module in model.named_modules()
        if isinstance(module, torch.nn.Linear) and module is not head
    }


def add_adapter(base: PreTrainedModel, method: AdapterMethod, *, seed: int) -> PeftModel:
    """The base with a fresh float32 adapter: A initialised from `seed`, B zero."""
    replace_norms(base)
    replace_mlps(base)
    torch.manual_seed(seed)
    config = LoraConfig(
        task_type="CAUSAL_LM",
        r=method.lora_r,
        lora_alpha=method.lora_alpha,
        lora_dropout=method.lora_dropout,
        target_modules=list(target_names(base, method.lora_target_modules)),
        use_rslora=method.use_rslora,
        use_dora=isinstance(method, DoraMethod),
    )
    config._register_custom_module({torch.nn.Linear: LoraLinear})  # 4-bit layers are subclasses
    model = get_peft_model(base, config)
    assert isinstance(model, PeftModel)
    return model


def save(model: PeftModel, folder: Path, *, base_name: str) -> None:
    """Write adapter_model.safetensors and adapter_config.json in PEFT's layout.

    Not `save_pretrained`: it may ask the Hub for the base's config, which fails offline.
    """
    state = get_peft_model_state_dict(model, save_embedding_layers=False)
    save_file(
        {name: tensor.detach().cpu().contiguous() for name, tensor in state.items()},
        folder / ADAPTER_WEIGHTS,
        metadata={"format": "pt"},
    )
    config = model.peft_config["default"]
    local_name = config.base_model_name_or_path
    config.base_model_name_or_path = base_name
    config.inference_mode = True
    config.save_pretrained(str(folder))
    config.base_model_name_or_path, config.inference_mode = local_name, False


def load(model: PeftModel, folder: Path) -> None:
    """Load an adapter's weights into `model`; an unexpected tensor fails."""
    report: Any = set_peft_model_state_dict(model, load_file(folder / ADAPTER_WEIGHTS))
    assert not report.unexpected_keys, report.unexpected_keys[:3]
