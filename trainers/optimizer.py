"""AdamW over the trainable parameters, its state as safetensors by parameter name.

exp_avg.<parameter>, exp_avg_sq.<parameter>, step.<parameter>
"""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from trainers.config import TrainConfig

FILE = "optimizer.safetensors"
MOMENTS = ("exp_avg", "exp_avg_sq")


def make_optimizer(model: nn.Module, train: TrainConfig) -> torch.optim.AdamW:
    """AdamW (arXiv 1711.05101) over what is trainable, in the model's order."""
    return torch.optim.AdamW(
        [p for p in model.parameters() if p.requires_grad],
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
    for name, param in model.named_parameters():
        if param.requires_grad:
            optimizer.state[param] = {
                key: tensors[f"{key}.{name}"].to(param.device if key != "step" else "cpu")
                for key in ("step", *MOMENTS)
            }
