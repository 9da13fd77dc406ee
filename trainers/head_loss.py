"""Weighted cross-entropy through the output head, in chunks, with no logits kept.

    loss = sum_n weights[n] * (logsumexp(z_n) - z_n[targets[n]]),   z = hidden @ head.T

The gradient of the logits, softmax(z) - one_hot, is known as soon as they are, so the gradients of
`hidden` and of a trained head are made on the way forward, one chunk of logits in memory at a
time: with a vocabulary of 256,000, the logits of 1,000 tokens and their gradient take 2 GB.
"""

from typing import Any

import torch
from torch import Tensor

# Logits in memory at a time; in float32 they take 64 MiB.
CHUNK_LOGITS = 2**24


def head_loss(hidden: Tensor, head: Tensor, targets: Tensor, weights: Tensor) -> Tensor:
    """hidden [N, D], head [V, D], targets [N], weights [N] -> [], float32 or wider."""
    loss: Tensor = HeadLoss.apply(hidden, head, targets, weights)
    return loss


class HeadLoss(torch.autograd.Function):
    """The sum above; a head that is not trained costs no gradient."""

    @staticmethod
    def forward(ctx: Any, hidden: Tensor, head: Tensor, targets: Tensor, weights: Tensor) -> Tensor:
        wide = torch.promote_types(hidden.dtype, torch.float32)
        loss = torch.zeros((), dtype=torch.float64, device=hidden.device)
        d_hidden = torch.empty_like(hidden)
        d_head = torch.zeros_like(head, dtype=wide) if ctx.needs_input_grad[1] else None
        size = max(1, CHUNK_LOGITS // head.shape[0])
        minus_one = -torch.ones(size, 1, dtype=wide, device=hidden.device)
        for start in range(0, len(hidden), size):
            at = slice(start, start + size)
            target, weight = targets[at, None], weights[at, None].to(wide)
            log_p = torch.log_softmax(hidden[at] @ head.t(), 1, dtype=wide)
            loss -= (log_p.gather(1, target) * weight).sum(dtype=torch.float64)
            # The 1 is subtracted before p is rounded: of a learnt token little else is left.
            d_logits = log_p.exp_().scatter_add_(1, target, minus_one[: len(target)])
            narrow = d_logits.to(hidden.dtype)
            torch.mm(narrow, head, out=d_hidden[at])
            d_hidden[at] *= weight.to(hidden.dtype)
            if d_head is not None:
                d_head += narrow.t() @ (hidden[at] * weight.to(hidden.dtype))
        ctx.save_for_backward(d_hidden, d_head)
        return loss.to(wide)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        d_hidden, d_head = ctx.saved_tensors
        grad = grads[0]
        from_head = None if d_head is None else (d_head * grad).to(d_hidden.dtype)
        return d_hidden * grad.to(d_hidden.dtype), from_head, None, None
