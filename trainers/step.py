"""The optimizer step, whole and visible.

    sum over the step's trained tokens of -log p(token) / number of trained tokens of the step

Each worker adds up its micro-batches, the gradients are summed over the workers once, clipped,
and every worker takes the same AdamW step. Micro-batches are tries of prefixes (packing.py), which
cost a fraction of their rows' tokens; the gradient does not depend on how rows are packed.
"""

import math
from collections.abc import Iterable, Sequence
from typing import Any

import torch
import torch.distributed as dist
from peft import PeftModel
from torch import Tensor, nn

from trainers.head_loss import head_loss
from trainers.packing import PackedBatch
from trainers.tree_attention import attention_inputs


class NonFiniteError(RuntimeError):
    """A loss or gradient that is not finite; training cannot go on from it."""


def loss_part(model: nn.Module, batch: PackedBatch, *, num_targets: int) -> Tensor:
    """The micro-batch's part of the step's loss [], float32 or wider: its sum over `num_targets`.

    The head runs only where a target stands.
    """
    base: Any = model.get_base_model() if isinstance(model, PeftModel) else model
    batch = batch.to(base.device)
    hidden_TD = base.get_decoder()(
        input_ids=batch.ids[None],
        position_ids=batch.tree.positions[None],
        use_cache=False,
        **attention_inputs(base, batch.tree),
    ).last_hidden_state[0]
    head_VD = base.get_output_embeddings().weight
    return head_loss(hidden_TD[batch.src], head_VD, batch.targets, batch.weights / num_targets)


def train_step(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    batches: Iterable[tuple[int, PackedBatch]],
    *,
    num_targets: int,
    learning_rate: float,
    max_grad_norm: float,
    seed: Sequence[int],
) -> tuple[float, float]:
    """One optimizer step over this worker's (index, micro-batch) pairs.

    Args:
        num_targets: trained tokens of the whole step, over all workers.
        seed: of the step; the dropout of a micro-batch depends on it and the index only.
    Returns:
        The step's mean loss per trained token, and the gradient's norm before clipping.
    Raises:
        NonFiniteError: before the weights are touched.
    """
    loss = torch.zeros((), dtype=torch.float64)
    for index, batch in batches:
        torch.manual_seed(_mix(*seed, index))
        part = loss_part(model, batch, num_targets=num_targets)
        part.backward()
        loss += part.detach().double().cpu()
    params = [p for p in model.parameters() if p.requires_grad]
    _sum_over_workers(params, loss)
    norm = float(nn.utils.clip_grad_norm_(params, max_grad_norm))
    if not (math.isfinite(norm) and math.isfinite(float(loss))):
        raise NonFiniteError(f"loss {float(loss)}, gradient norm {norm}")
    for group in optimizer.param_groups:
        group["lr"] = learning_rate
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    return float(loss), norm


def _sum_over_workers(params: Sequence[nn.Parameter], loss: Tensor) -> None:
    """All-reduce the gradients in one flat message, and the loss in float64."""
    for p in params:
        if p.grad is None:  # a worker without a micro-batch in this step
            p.grad = torch.zeros_like(p, dtype=p.grad_dtype)
    if not dist.is_initialized() or dist.get_world_size() == 1:
        return
    grads = [p.grad for p in params if p.grad is not None]
    flat = torch.cat([g.reshape(-1) for g in grads])
    dist.all_reduce(flat)
    dist.all_reduce(loss)
    for grad, part in zip(grads, flat.split([g.numel() for g in grads]), strict=True):
        grad.copy_(part.view_as(grad))


def _mix(*parts: int) -> int:
    """One 63-bit seed from several numbers, by Python's stable hash of integer tuples."""
    return hash(parts) & (2**63 - 1)
