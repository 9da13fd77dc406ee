"""Losses of held-out rows, one by one; `eval_loss` is their mean.

row_losses(model, rows, max_tokens=4096, min_share=8) -> {0: 0.41, 1: 1.73, ...}

A row's loss is the mean of -log p(token) over its loss positions, in nats. Rows are packed as in
training (packing.py), but into the same micro-batches for any world size: in bfloat16 the last
digits depend on what is packed together.
"""

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from datasets_src.batching.plan import cut_step
from datasets_src.batching.trie import sort_rows
from datasets_src.types import TokenizedExample
from trainers.models.load import LanguageModel
from trainers.step.packing import pack
from trainers.step.train_step import NonFiniteError, loss_part

ROWS_CUT_TOGETHER = 64
# Logits held at a time: 64 MiB in float32.
CHUNK_LOGITS = 2**24


@torch.no_grad()
def row_losses(
    model: LanguageModel,
    rows: Sequence[TokenizedExample],
    *,
    max_tokens: int,
    min_share: int,
    rank: int = 0,
    world_size: int = 1,
    on_progress: Callable[[], object] = lambda: None,
) -> dict[int, float]:
    """The losses of this worker's share of `rows`, by row index.

    Args:
        on_progress: called after each micro-batch.
    Raises:
        NonFiniteError: a loss is not finite.
    """
    model.eval()
    order = sort_rows([row.input_ids for row in rows])
    losses: dict[int, float] = {}
    for start in range(0, len(order), ROWS_CUT_TOGETHER)[rank::world_size]:
        indices = order[start : start + ROWS_CUT_TOGETHER]
        parts = cut_step(
            [rows[i] for i in indices], num_workers=1, max_tokens=max_tokens, min_share=min_share
        )
        means: list[float] = []
        for part in parts:
            batch = pack(part.rows, min_share=min_share)
            of_targets = loss_part(model, batch, num_targets=1, head=_UnreducedLoss(model)).cpu()
            means += [float(of_targets[row].mean(dtype=torch.float64)) for row in batch.row_targets]
            _require_finite(means, indices, rows)
            on_progress()
        losses |= zip(indices, means, strict=True)  # parts keep the order of sorted rows
    return losses


def _require_finite(
    means: Sequence[float], indices: Sequence[int], rows: Sequence[TokenizedExample]
) -> None:
    for mean, i in zip(means, indices, strict=False):
        if not math.isfinite(mean):
            raise NonFiniteError(
                f"eval_loss of row {rows[i].id} is {mean}, so it cannot rank checkpoints; lower "
                "learning_rate or inspect this row"
            )


class _UnreducedLoss:
    """Output head that returns the loss of each target [N] instead of their sum."""

    def __init__(self, model: LanguageModel) -> None:
        self._weight: Tensor = model.get_output_embeddings().weight

    def __call__(self, hidden: Tensor, targets: Tensor, weights: Tensor) -> Tensor:
        wide = torch.promote_types(hidden.dtype, torch.float32)
        size = max(1, CHUNK_LOGITS // len(self._weight))
        parts = zip(hidden.split(size), targets.split(size), strict=True)
        return torch.cat(
            [cross_entropy((h @ self._weight.t()).to(wide), t, reduction="none") for h, t in parts]
        )
