"""Cache-blocked (row-tiled) SwiGLU (arXiv 2002.05202) with its own backward, bit-identical.

    h = silu(g) * u        dg = silu'(g) * u * dh        du = silu(g) * dh

g and u are the outputs of the gate and up projections, h is the input of the down projection.
transformers makes two passes over them, autograd three more, and silu(g) is saved. Here only g and
u are saved, and every pass after the first finds its rows in cache. Each value is computed and
rounded as in transformers.

Shapes: T tokens, D width of the model, I width of the MLP.
"""

from typing import Any

import torch
from torch import Tensor, nn
from transformers.activations import SiLUActivation

from trainers.kernels.row_blocks import row_blocks

# 128 rows of width 5,440 take 1.3 MiB in bfloat16: a thread's share stays in its core's cache.
THREAD_ROWS = 128
# Classes of transformers that compute down_proj(act_fn(gate_proj(x)) * up_proj(x)).
STOCK = frozenset({"LlamaMLP", "MistralMLP", "Qwen2MLP", "Qwen3MLP"})


class SwiGLU(torch.autograd.Function):
    """gate_TI, up_TI -> h_TI = silu(gate) * up."""

    @staticmethod
    def forward(ctx: Any, gate: Tensor, up: Tensor) -> Tensor:
        out = torch.empty_like(gate)
        for g, u, h in row_blocks(THREAD_ROWS, gate, up, out):
            torch.mul(nn.functional.silu(g), u, out=h)
        ctx.save_for_backward(gate, up)
        return out

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor]:
        gate, up = ctx.saved_tensors
        d_gate, d_up = torch.empty_like(gate), torch.empty_like(up)
        for g, u, dh, dg, du in row_blocks(THREAD_ROWS, gate, up, grads[0], d_gate, d_up):
            torch.mul(nn.functional.silu(g), dh, out=du)
            # autograd's own kernel, so that the gradient is the same bit for bit.
            torch.ops.aten.silu_backward.grad_input(dh * u, g, grad_input=dg)
        return d_gate, d_up


class GatedActivation(nn.Module):
    """SwiGLU as a module, so that generation can hook activations by name (forward.py)."""

    def forward(self, gate: Tensor, up: Tensor) -> Tensor:
        """gate_TI, up_TI -> h_TI."""
        out: Tensor = SwiGLU.apply(gate, up)
        return out


class GatedMLP(nn.Module):
    """A gated MLP that takes over the projections of the transformers MLP it replaces."""

    def __init__(self, mlp: Any) -> None:
        super().__init__()
        self.gate_proj: nn.Module = mlp.gate_proj
        self.up_proj: nn.Module = mlp.up_proj
        self.down_proj: nn.Module = mlp.down_proj
        self.act_fn = GatedActivation()

    def forward(self, x: Tensor) -> Tensor:
        """x [..., D] -> [..., D]."""
        gate, up = (proj(x).flatten(0, -2) for proj in (self.gate_proj, self.up_proj))
        hidden = self.act_fn(gate, up).view(*x.shape[:-1], -1)
        out: Tensor = self.down_proj(hidden)
        return out


def replace_mlps(base: nn.Module) -> None:
    """Replace, in place, every MLP of `base` that GatedMLP reproduces exactly."""
    for parent in list(base.modules()):
        for name, child in parent.named_children():
            if type(child).__name__ in STOCK and isinstance(child.act_fn, SiLUActivation):
                setattr(parent, name, GatedMLP(child))
