"""Chunked, weighted cross-entropy through the output head, with logits only at loss positions.

    loss = sum_n weights[n] * (logsumexp(z_n) - z_n[targets[n]]),   z = hidden @ head.T

The gradient of the logits, softmax(z) - one_hot, is known as soon as they are. So the gradients of
`hidden` and of a trained head are computed in the forward pass, one chunk of logits in memory at a
time: with a vocabulary of 256,000, the logits of 1,000 tokens and their gradient take 1 GB. The
gradient overwrites the logits in blocks of rows that fit the cache.

Shapes: N loss positions, D width, V vocabulary.
"""

from typing import Any

import torch
from torch import Tensor

# Rows of logits in memory at a time; with fewer, the products with a head of any size are slower.
# In bfloat16, 256 rows take 125 MiB with a vocabulary of 256,000.
CHUNK_ROWS = 256
# Logits per block, 2 MiB in float32: every pass over them after the first stays in cache.
BLOCK_LOGITS = 2**19


def head_loss(hidden: Tensor, head: Tensor, targets: Tensor, weights: Tensor) -> Tensor:
    """Weighted sum of the cross-entropies at N loss positions.

    Args:
        hidden: hidden_ND, the states that predict the targets.
        head: head_VD, the output embeddings.
        targets: targets_N, token ids.
        weights: weights_N, what each position counts.
    Returns:
        [], float32 or wider.
    """
    loss: Tensor = HeadLoss.apply(hidden, head, targets, weights)
    return loss


class HeadLoss(torch.autograd.Function):
    """hidden_ND, head_VD, targets_N, weights_N -> []; a frozen head costs no gradient."""

    @staticmethod
    def forward(ctx: Any, hidden: Tensor, head: Tensor, targets: Tensor, weights: Tensor) -> Tensor:
        wide = torch.promote_types(hidden.dtype, torch.float32)
        # float64: thousands of float32 terms are summed, and the sum must not depend visibly on
        # how rows are chunked or cut into micro-batches.
        loss = torch.zeros((), dtype=torch.float64, device=hidden.device)
        d_hidden = torch.empty_like(hidden)
        d_head = torch.zeros_like(head, dtype=wide) if ctx.needs_input_grad[1] else None
        for start in range(0, len(hidden), CHUNK_ROWS):
            at = slice(start, start + CHUNK_ROWS)
            weight = weights[at, None].to(wide)
            logits = hidden[at] @ head.t()
            loss += _loss_and_gradient(logits, targets[at, None], weight)
            torch.mm(logits, head, out=d_hidden[at])  # `logits` now holds their gradient
            # The weight scales [n, D] after the product instead of [n, V] before it: D is smaller.
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
    """Loss [] of logits [n, V], which become softmax(z) - one_hot; target and weight [n, 1]."""
    loss = torch.zeros((), dtype=torch.float64, device=logits.device)
    size = len(logits) if logits.is_cuda else max(1, BLOCK_LOGITS // logits.shape[1])
    minus_one = -torch.ones(size, 1, dtype=weight.dtype, device=logits.device)
    for rows, of_target, of_weight in zip(
        logits.split(size), target.split(size), weight.split(size), strict=True
    ):
        log_p = torch.log_softmax(rows, 1, dtype=weight.dtype)
        loss -= (log_p.gather(1, of_target) * of_weight).sum(dtype=torch.float64)
        # The 1 is subtracted before p is rounded to bfloat16: for a nearly learnt token the
        # difference is of the size of that rounding.
        rows.copy_(log_p.exp_().scatter_add_(1, of_target, minus_one[: len(rows)]))
    return loss
