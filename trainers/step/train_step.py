"""The optimizer step, whole and visible.

    sum over the step's trained tokens of -log p(token) / number of trained tokens of the step

Each worker adds up its micro-batches, the gradients are summed over the workers, clipped, and the
same AdamW step is taken, by every worker or by each on its part (zero.py). Micro-batches are tries
of prefixes (packing.py), which cost a fraction of their rows' tokens; the gradient does not depend
on how rows are packed.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Protocol

import torch
import torch.distributed as dist
from peft import PeftModel
from torch import Tensor, nn

from trainers.kernels.attention import attention_inputs
from trainers.kernels.head_loss import head_loss
from trainers.step.optimizer import load_optimizer_state, optimizer_state
from trainers.step.packing import PackedBatch

# Products are made of whole tiles: 16 rows each with AMX.
ROWS_MULTIPLE = 16


class NonFiniteError(RuntimeError):
    """A loss or gradient that is not finite; training cannot go on from it."""


class Engine(Protocol):
    """What holds the trained weights and their optimizer: replicated here, in parts in zero.py."""

    device: torch.device

    def backward(self, batch: PackedBatch, *, num_targets: int) -> Tensor:
        """Add a micro-batch's gradient to the step's; its part of the loss [], detached."""

    def step(self, learning_rate: float) -> float:
        """Sum the gradients over the workers, clip, take one AdamW step; the norm before clipping.

        A norm that is not finite leaves the weights.
        """

    def state(self) -> dict[str, Tensor]:
        """The optimizer's state, whole, by parameter name (optimizer.py); collective."""

    def load_state(self, tensors: Mapping[str, Tensor]) -> None:
        """Put `state()` of any engine back, of any number of workers."""

    def gathered_weights(self) -> AbstractContextManager[Any]:
        """The model with all its weights, to be evaluated or saved; collective."""


class DataParallelEngine:
    """Every worker holds the model and the optimizer; gradients are summed once a step."""

    def __init__(
        self, model: nn.Module, optimizer: torch.optim.Optimizer, *, max_grad_norm: float
    ) -> None:
        self.model, self.optimizer, self.max_grad_norm = model, optimizer, max_grad_norm
        self.device = next(model.parameters()).device

    def backward(self, batch: PackedBatch, *, num_targets: int) -> Tensor:
        self.model.train()
        part = loss_part(self.model, batch, num_targets=num_targets)
        part.backward()
        return part.detach()

    def step(self, learning_rate: float) -> float:
        params = [p for p in self.model.parameters() if p.requires_grad]
        _sum_over_workers(params)
        norm = float(nn.utils.clip_grad_norm_(params, self.max_grad_norm))
        if math.isfinite(norm):
            for group in self.optimizer.param_groups:
                group["lr"] = learning_rate
            self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        return norm

    def state(self) -> dict[str, Tensor]:
        return optimizer_state(self.optimizer, self.model)

    def load_state(self, tensors: Mapping[str, Tensor]) -> None:
        load_optimizer_state(self.optimizer, self.model, tensors)

    def gathered_weights(self) -> AbstractContextManager[Any]:
        return nullcontext(self.model)


def loss_part(
    model: nn.Module,
    batch: PackedBatch,
    *,
    num_targets: int,
    head: Callable[[Tensor, Tensor, Tensor], Tensor] | None = None,
) -> Tensor:
    """The micro-batch's part of the step's loss [], float32 or wider: its sum over `num_targets`.

    The head runs only where a target stands; `head`, if given, stands for the model's own.
    """
    base: Any = model.get_base_model() if isinstance(model, PeftModel) else model
    batch = batch.padded(ROWS_MULTIPLE).to(base.device)
    hidden_TD = base.get_decoder()(
        input_ids=batch.ids[None],
        position_ids=batch.tree.positions[None],
        use_cache=False,
        **attention_inputs(base, batch.tree),
    ).last_hidden_state[0]
    hidden_ND, weights = hidden_TD[batch.src], batch.weights / num_targets
    if head is not None:
        return head(hidden_ND, batch.targets, weights)
    return head_loss(hidden_ND, base.get_output_embeddings().weight, batch.targets, weights)


def train_step(
    engine: Engine,
    batches: Iterable[tuple[int, PackedBatch]],
    *,
    num_targets: int,
    learning_rate: float,
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
    rank, world_size = (dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else (0, 1)
    losses = torch.zeros(world_size, dtype=torch.float64, device=engine.device)
    for index, batch in batches:
        torch.manual_seed(_mix(*seed, index))
        losses[rank] += engine.backward(batch, num_targets=num_targets)
    if world_size > 1:
        dist.all_reduce(losses)
    loss = float(losses.sum())
    if not math.isfinite(loss):
        ranks = ", ".join(
            str(r) for r, part in enumerate(losses.tolist()) if not math.isfinite(part)
        )
        raise NonFiniteError(f"loss {loss} on rank {ranks}")
    norm = engine.step(learning_rate)
    if not math.isfinite(norm):
        raise NonFiniteError(f"loss {loss}, gradient norm {norm}")
    return loss, norm


def _sum_over_workers(params: Sequence[nn.Parameter]) -> None:
    """All-reduce the gradients in one flat message."""
    for p in params:
        if p.grad is None:  # a worker without a micro-batch in this step
            p.grad = torch.zeros_like(p, dtype=p.grad_dtype)
    if not dist.is_initialized() or dist.get_world_size() == 1:
        return
    grads = [p.grad for p in params if p.grad is not None]
    flat = torch.cat([g.reshape(-1) for g in grads])
    dist.all_reduce(flat)
    for grad, part in zip(grads, flat.split([g.numel() for g in grads]), strict=True):
        grad.copy_(part.view_as(grad))


def _mix(*parts: int) -> int:
    """One 63-bit seed from several numbers, by Python's stable hash of integer tuples."""
    return hash(parts) & (2**63 - 1)
