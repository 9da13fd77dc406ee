"""AdamW over the trainable parameters, its state as safetensors by parameter name.

exp_avg.<parameter>, exp_avg_sq.<parameter>, step.<parameter>, master.<parameter> (bfloat16 weights)
"""

from collections.abc import Callable, Mapping
from functools import partial

import torch
from torch import Tensor, nn

from trainers.config import TrainConfig
from trainers.master_adamw import MasterAdamW

FILE = "optimizer.safetensors"
MOMENTS = ("exp_avg", "exp_avg_sq")


def make_optimizer(model: nn.Module, train: TrainConfig) -> torch.optim.Optimizer:
    """AdamW (arXiv 1711.05101) over what is trainable, in the model's order."""
    params = [p for p in model.parameters() if p.requires_grad]
    # Fused: one pass over each tensor, 5 ms a step less for the 42 small ones of the pocket model.
    kind: Callable[..., torch.optim.Optimizer] = partial(torch.optim.AdamW, fused=True)
    if any(p.dtype in (torch.bfloat16, torch.float16) for p in params):
        kind = MasterAdamW
    return kind(
        params,
        lr=train.learning_rate,
        betas=(train.adam_beta1, train.adam_beta2),
        eps=train.adam_epsilon,
        weight_decay=train.weight_decay,
    )


def optimizer_state(optimizer: torch.optim.Optimizer, model: nn.Module) -> dict[str, Tensor]:
    """The moments and step counts; the learning rate is a function of the step."""
    return {
        f"{key}.{name}": value.detach().cpu().contiguous()
        for name, param in model.named_parameters()
        if param in optimizer.state
        for key, value in optimizer.state[param].items()
    }


def load_optimizer_state(
    optimizer: torch.optim.Optimizer, model: nn.Module, tensors: Mapping[str, Tensor]
) -> None:
    """Put a saved state back; every trainable parameter must find its own."""
    keys = ["step", *MOMENTS]
    keys += ["master"] if isinstance(optimizer, MasterAdamW) else []
    for name, param in model.named_parameters():
        if param.requires_grad:
            optimizer.state[param] = {
                key: tensors[f"{key}.{name}"].to(param.device if key != "step" else "cpu")
                for key in keys
            }
