"""Weighted cross-entropy through the output head, in chunks, with no logits kept.

    loss = sum_n weights[n] * (logsumexp(z_n) - z_n[targets[n]]),   z = hidden @ head.T

The gradient of the logits, softmax(z) - one_hot, is known as soon as they are, so the gradients of
`hidden` and of a trained head are made on the way forward, one chunk of logits in memory at a
time: with a vocabulary of 256,000, the logits of 1,000 tokens and their gradient take 1 GB. The
gradient takes the place of the logits, a few rows at a time that the processor's cache holds.
"""

from typing import Any

import torch
from torch import Tensor

# Rows of logits in memory at a time: with fewer, products with a head of any size are slower. In
# bfloat16 they take 125 MiB with a vocabulary of 256,000.
CHUNK_ROWS = 256
# Logits at a time in float32, 2 MiB: all passes over them but the first stay in the cache.
BLOCK_LOGITS = 2**19


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
        for start in range(0, len(hidden), CHUNK_ROWS):
            at = slice(start, start + CHUNK_ROWS)
            weight = weights[at, None].to(wide)
            logits = hidden[at] @ head.t()
            loss += _loss_and_gradient(logits, targets[at, None], weight)
            torch.mm(logits, head, out=d_hidden[at])
            d_hidden[at] *= weight.to(hidden.dtype)
            if d_head is not None:
                d_head += logits.t() @ (hidden[at] * weight.to(hidden.dtype))
        ctx.save_for_backward(d_hidden, d_head)
        return loss.to(wide)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        d_hidden, d_head = ctx.saved_tensors
        grad = grads[0]
        from_head = None if d_head is None else (d_head * grad).to(d_hidden.dtype)
        return d_hidden * grad.to(d_hidden.dtype), from_head, None, None


def _loss_and_gradient(logits: Tensor, target: Tensor, weight: Tensor) -> Tensor:
    """The loss of logits [n, V], which become softmax(z) - one_hot; target and weight [n, 1]."""
    loss = torch.zeros((), dtype=torch.float64, device=logits.device)
    size = len(logits) if logits.is_cuda else max(1, BLOCK_LOGITS // logits.shape[1])
    minus_one = -torch.ones(size, 1, dtype=weight.dtype, device=logits.device)
    for rows, of_target, of_weight in zip(
        logits.split(size), target.split(size), weight.split(size), strict=True
    ):
        log_p = torch.log_softmax(rows, 1, dtype=weight.dtype)
        loss -= (log_p.gather(1, of_target) * of_weight).sum(dtype=torch.float64)
        # The 1 is subtracted before p is rounded: of a learnt token little else is left.
        rows.copy_(log_p.exp_().scatter_add_(1, of_target, minus_one[: len(rows)]))
    return loss
