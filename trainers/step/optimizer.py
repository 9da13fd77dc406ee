"""AdamW over the trainable parameters; its state is saved as safetensors by parameter name.

    optimizer = make_optimizer(model, config.train)
    save_file(optimizer_state(optimizer, model), folder / FILE)

Keys: exp_avg.<parameter>, exp_avg_sq.<parameter>, step.<parameter>, and master.<parameter> for
weights held in bfloat16. Names instead of indices, so ZeRO and any world size read the same file.
"""

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.adamw import adamw

from trainers.config.schema import TrainConfig

FILE = "optimizer.safetensors"
MOMENTS = ("exp_avg", "exp_avg_sq")


def make_optimizer(model: nn.Module, train: TrainConfig) -> torch.optim.Optimizer:
    """AdamW (arXiv 1711.05101) over the trainable parameters, in the model's order.

    Weights in bfloat16 or float16 get float32 masters.
    """
    params = [p for p in model.parameters() if p.requires_grad]
    # Fused: one pass over each tensor, 5 ms a step less for the pocket model's 42 small ones.
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
    """Moments, step counts and masters on the CPU; the learning rate is a function of the step."""
    return {
        f"{key}.{name}": value.detach().cpu().contiguous()
        for name, param in model.named_parameters()
        if param in optimizer.state
        for key, value in optimizer.state[param].items()
    }


def load_optimizer_state(
    optimizer: torch.optim.Optimizer, model: nn.Module, tensors: Mapping[str, Tensor]
) -> None:
    """Restore what `optimizer_state` returned.

    Raises:
        KeyError: the state of a trainable parameter is missing.
    """
    keys = ["step", *MOMENTS]
    keys += ["master"] if isinstance(optimizer, MasterAdamW) else []
    for name, param in model.named_parameters():
        if param.requires_grad:
            optimizer.state[param] = {
                key: tensors[f"{key}.{name}"].to(param.device if key != "step" else "cpu")
                for key in keys
            }


class MasterAdamW(torch.optim.Optimizer):
    """torch's AdamW on float32 masters, `state[p]["master"]`, of weights p in bfloat16.

    A bfloat16 weight has 8 significant bits: an update below 1/512 of it rounds to nothing.
    """

    def __init__(
        self,
        params: Iterable[nn.Parameter],
        *,
        lr: float,
        betas: tuple[float, float],
        eps: float,
        weight_decay: float,
    ) -> None:
        defaults = {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay}
        super().__init__(params, defaults)
        for group in self.param_groups:
            for p in group["params"]:
                # Micro-batches accumulate in float32, not rounded to bfloat16 after each.
                p.grad_dtype = torch.float32

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """Update the masters one by one and round each into its weight."""
        assert closure is None
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is not None:
                    self._step(p, p.grad, group)

    def _step(self, p: nn.Parameter, grad: torch.Tensor, group: dict[str, Any]) -> None:
        state = self.state[p]
        if not state:
            state["step"] = torch.tensor(0.0)
            state["exp_avg"], state["exp_avg_sq"] = (
                torch.zeros_like(p, dtype=torch.float32) for _ in range(2)
            )
            state["master"] = p.detach().float()
        adamw(
            [state["master"]],
            [grad],
            [state["exp_avg"]],
            [state["exp_avg_sq"]],
            [],
            [state["step"]],
            amsgrad=False,
            beta1=group["betas"][0],
            beta2=group["betas"][1],
            lr=group["lr"],
            weight_decay=group["weight_decay"],
            eps=group["eps"],
            maximize=False,
            fused=True,
        )
        p.copy_(state["master"])
