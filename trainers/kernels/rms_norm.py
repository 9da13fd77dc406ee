"""Cache-blocked (row-tiled) RMSNorm (arXiv 1910.07467) of a frozen base, with its own backward.

    y = w * cast(x / r)        r = sqrt(mean(x^2) + eps), in float32 as in transformers
    dx = (g - h mean(h g)) / r         h = x / r,  g = w dy

transformers' norm makes six passes over all activations, and autograd's backward about twelve over
the float32 tensors it saved. Here only x and 1 / r are saved. The output is bit-identical.

Shapes: T tokens, D width.
"""

from typing import Any

import torch
from torch import Tensor, nn

from trainers.kernels.row_blocks import row_blocks

# 128 rows of width 2,048 take 1 MiB in float32: a thread's share stays in its core's cache.
THREAD_ROWS = 128
# Classes of transformers with this formula and the attributes `weight` and `variance_epsilon`.
STOCK = frozenset({"LlamaRMSNorm", "MistralRMSNorm", "Qwen2RMSNorm", "Qwen3RMSNorm"})


class RMSNorm(torch.autograd.Function):
    """x_TD, frozen weight_D -> y_TD."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, eps: float) -> Tensor:
        assert not ctx.needs_input_grad[1], "the weight of a frozen norm is trained"
        wide = torch.promote_types(x.dtype, torch.float32)
        out, inverse = torch.empty_like(x), x.new_empty(len(x), 1, dtype=wide)
        for x_part, y, r in row_blocks(THREAD_ROWS, x, out, inverse):
            h = x_part.to(wide)
            torch.rsqrt(h.square().mean(-1, keepdim=True).add_(eps), out=r)
            # Cast before the weight is applied: the order of transformers' roundings.
            torch.mul(weight, (h * r).to(x.dtype), out=y)
        ctx.save_for_backward(x, weight, inverse)
        return out

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, inverse = ctx.saved_tensors
        d_x = torch.empty_like(x)
        for x_part, dy, r, dx in row_blocks(THREAD_ROWS, x, grads[0], inverse, d_x):
            h, g = x_part.to(r.dtype) * r, (dy * weight).to(r.dtype)
            mean = (h * g).mean(-1, keepdim=True)
            dx.copy_(g.addcmul_(h, mean, value=-1).mul_(r))
        return d_x, None, None


class FrozenNorm(nn.Module):
    """A norm that takes over the frozen weight of the transformers norm it replaces."""

    def __init__(self, norm: Any) -> None:
        super().__init__()
        self.weight: nn.Parameter = norm.weight
        self.eps: float = norm.variance_epsilon

    def forward(self, x: Tensor) -> Tensor:
        """x [..., D] -> [..., D]."""
        out: Tensor = RMSNorm.apply(x.reshape(-1, x.shape[-1]), self.weight, self.eps)
        return out.view(x.shape)


def replace_norms(base: nn.Module) -> None:
    """Replace, in place, every norm of `base` that FrozenNorm reproduces exactly.

    Its weights must stay frozen: no gradient of them is computed.
    """
    for parent in list(base.modules()):
        for name, child in parent.named_children():
            if type(child).__name__ in STOCK:
                setattr(parent, name, FrozenNorm(child))
