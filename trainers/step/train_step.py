"""One optimizer step: forward and backward per micro-batch, all-reduce, clipping, AdamW.

    loss = sum over the step's trained tokens of -log p(token) / number of trained tokens

    engine = DataParallelEngine(model, optimizer, max_grad_norm=1.0)
    train_step(engine, share.batches, num_targets=812, learning_rate=1e-4, seed=(42, 1))

Each worker accumulates the gradients of its micro-batches; they are summed over the workers and
clipped, and AdamW updates all weights on every worker, or each worker's partition (zero.py). A
micro-batch is a packed prefix trie (packing.py), which costs a fraction of its rows' tokens; the
gradient does not depend on how rows are packed.

Shapes: T packed tokens, N loss positions, D width, V vocabulary; [] is a scalar.
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

# oneDNN multiplies whole tiles, with AMX of 16 rows: products of 2,011 rows take a fifth longer
# than those of 2,016.
ROWS_MULTIPLE = 16


class NonFiniteError(RuntimeError):
    """The loss or the gradient norm is not finite; the step was not taken."""


class Engine(Protocol):
    """Trained weights and their optimizer: replicated (below) or partitioned (zero.py)."""

    device: torch.device

    def backward(self, batch: PackedBatch, *, num_targets: int) -> Tensor:
        """Accumulate a micro-batch's gradient.

        Args:
            batch: T packed tokens with N loss positions.
            num_targets: trained tokens of the whole step, over all workers.
        Returns:
            The micro-batch's part of the step's loss, [], detached.
        """

    def step(self, learning_rate: float) -> float:
        """Sum the gradients over the workers, clip, take one AdamW step, clear the gradients.

        Returns:
            The gradient norm before clipping; if it is not finite, the weights are unchanged.
        """

    def state(self) -> dict[str, Tensor]:
        """The full optimizer state by parameter name (optimizer.py); a collective call."""

    def load_state(self, tensors: Mapping[str, Tensor]) -> None:
        """Restore the `state()` of any engine at any world size."""

    def gathered_weights(self) -> AbstractContextManager[Any]:
        """The model with all its weights, to evaluate or save; a collective call."""


class DataParallelEngine:
    """Data parallelism: model and optimizer on every worker, one gradient all-reduce per step."""

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
        _all_reduce_gradients(params)
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
    """The micro-batch's part of the step's loss: its summed cross-entropy over `num_targets`.

    Args:
        batch: T packed tokens with N loss positions; only these go through the head.
        num_targets: trained tokens of the whole step, over all workers.
        head: replaces the model's output head: hidden_ND, targets_N, weights_N -> loss.
    Returns:
        [], float32 or wider (or what `head` returns).
    """
    base: Any = model.get_base_model() if isinstance(model, PeftModel) else model
    batch = batch.padded(ROWS_MULTIPLE).to(base.device)
    hidden_TD = base.get_decoder()(
        input_ids=batch.ids[None],
        position_ids=batch.tree.positions[None],
        use_cache=False,
        **attention_inputs(base, batch.tree),
    ).last_hidden_state[0]
    # Divided by the global count here, so that the sum of all gradients is that of the mean loss.
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
    """Take one optimizer step; a collective call under data parallelism.

    Args:
        batches: this worker's (index within the step, micro-batch) pairs.
        num_targets: trained tokens of the whole step, over all workers.
        seed: of the step; the dropout of a micro-batch depends on it and the index only.
    Returns:
        The step's mean loss per trained token and the gradient norm before clipping, the same on
        every worker.
    Raises:
        NonFiniteError: the loss or the gradient norm is not finite; the weights are unchanged.
    """
    rank, world_size = (dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else (0, 1)
    # One slot per rank: the all-reduce adds only zeros to it, so every worker has the same bits,
    # takes the same decision and can name the rank. float64 sums float32 parts without visible
    # rounding, so the logged loss hardly depends on the number of micro-batches.
    losses = torch.zeros(world_size, dtype=torch.float64, device=engine.device)
    for index, batch in batches:
        # By index, not worker: dropout does not depend on which worker takes a micro-batch.
        torch.manual_seed(_mix_seed(*seed, index))
        losses[rank] += engine.backward(batch, num_targets=num_targets)
    if world_size > 1:
        dist.all_reduce(losses)
    loss = float(losses.sum())
    # Before engine.step(), so that the weights stay intact.
    if not math.isfinite(loss):
        ranks = ", ".join(
            str(r) for r, part in enumerate(losses.tolist()) if not math.isfinite(part)
        )
        raise NonFiniteError(f"loss {loss} on rank {ranks}")
    norm = engine.step(learning_rate)
    if not math.isfinite(norm):
        raise NonFiniteError(f"loss {loss}, gradient norm {norm}")
    return loss, norm


def _all_reduce_gradients(params: Sequence[nn.Parameter]) -> None:
    """Sum the gradients over the workers in one all-reduce of a flat tensor."""
    for p in params:
        # A worker without a micro-batch in this step: the flat tensors must have one length.
        if p.grad is None:
            p.grad = torch.zeros_like(p, dtype=p.grad_dtype)
    if not dist.is_initialized() or dist.get_world_size() == 1:
        return
    grads = [p.grad for p in params if p.grad is not None]
    flat = torch.cat([g.reshape(-1) for g in grads])
    dist.all_reduce(flat)
    for grad, part in zip(grads, flat.split([g.numel() for g in grads]), strict=True):
        grad.copy_(part.view_as(grad))


def _mix_seed(*parts: int) -> int:
    """One 63-bit seed from several integers; Python does not randomise the hash of int tuples."""
    return hash(parts) & (2**63 - 1)
