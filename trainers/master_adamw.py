"""AdamW for weights in bfloat16: float32 copies take the steps, the weights are their rounding.

optimizer = MasterAdamW(params, lr=1e-5, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.0)

At a learning rate of 1e-5 most steps are below half of bfloat16's last bit (2**-9 of the weight)
and would round to nothing. Gradients add up in float32 too, over all micro-batches of a step:
2 + 4 bytes a weight, and 12 for the copy and the moments.
"""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import nn
from torch.optim.adamw import adamw


class MasterAdamW(torch.optim.Optimizer):
    """torch's AdamW on `state[p]["master"]`, which is p in float32."""

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
                p.grad_dtype = torch.float32

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """Step the masters one after the other, and round each into its weight."""
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
