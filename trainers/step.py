"""The optimizer step, whole and visible.

    sum over the step's trained tokens of -log p(token) / number of trained tokens of the step

Each worker adds up its micro-batches, the gradients are summed over the workers once, clipped,
and every worker takes the same AdamW step. The result does not depend on how rows are batched.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
import torch.nn.functional as F
from peft import PeftModel
from torch import Tensor, nn

from datasets_src.types import TokenizedExample


class NonFiniteError(RuntimeError):
    """A loss or gradient that is not finite; training cannot go on from it."""


@dataclass(frozen=True)
class Batch:
    """A padded micro-batch. B rows, T tokens, N trained tokens over all rows.

    input_ids [B, T] and attention_mask [B, T], right-padded; the trained token n is
    targets[n], predicted from position (rows[n], columns[n]).
    """

    input_ids: Tensor
    attention_mask: Tensor
    rows: Tensor
    columns: Tensor
    targets: Tensor


def collate(examples: Sequence[TokenizedExample], pad_id: int) -> Batch:
    """Pad on the right and mask by position, never by the pad token's id."""
    width = max(len(e.input_ids) for e in examples)
    input_ids = torch.full((len(examples), width), pad_id)
    mask = torch.zeros((len(examples), width), dtype=torch.long)
    rows: list[int] = []
    columns: list[int] = []
    targets: list[int] = []
    for b, example in enumerate(examples):
        ids, first = example.input_ids, max(example.prompt_len, 1)
        input_ids[b, : len(ids)] = torch.tensor(ids)
        mask[b, : len(ids)] = 1
        rows += [b] * (len(ids) - first)
        columns += range(first - 1, len(ids) - 1)
        targets += ids[first:]
    return Batch(input_ids, mask, torch.tensor(rows), torch.tensor(columns), torch.tensor(targets))


def num_target_tokens(example: TokenizedExample) -> int:
    """Tokens of a row that are trained on."""
    return len(example.input_ids) - max(example.prompt_len, 1)


def loss_sum(model: nn.Module, batch: Batch) -> Tensor:
    """Sum of -log p over the trained tokens [], float32; the head runs on those positions only."""
    base: Any = model.get_base_model() if isinstance(model, PeftModel) else model
    device = base.device
    hidden_BTD = base.get_decoder()(
        input_ids=batch.input_ids.to(device),
        attention_mask=batch.attention_mask.to(device),
        use_cache=False,
    ).last_hidden_state
    picked_ND = hidden_BTD[batch.rows.to(device), batch.columns.to(device)]
    logits_NV = base.get_output_embeddings()(picked_ND)
    wide = torch.promote_types(logits_NV.dtype, torch.float32)
    return F.cross_entropy(logits_NV.to(wide), batch.targets.to(device), reduction="sum")


def train_step(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    batches: Sequence[tuple[int, Batch]],
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
        part = loss_sum(model, batch) / num_targets
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
            p.grad = torch.zeros_like(p)
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
