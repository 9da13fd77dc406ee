"""The loss on held-out rows, row by row: what eval_loss is the mean of.

row_losses(model, rows, max_tokens=4096, min_share=8) -> {0: 0.41, 1: 1.73, ...}

Of a row it is the mean of -log p(token) over its trained tokens, in nats. Rows are packed as in
training (packing.py), but cut into the same parts for any number of workers: in bfloat16 the last
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
# Logits in memory at a time; in float32 they take 64 MiB.
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
    on_part: Callable[[], object] = lambda: None,
) -> dict[int, float]:
    """The losses of this worker's share of `rows`, by their indices; `on_part` is called often.

    Raises:
        NonFiniteError: one is not finite.
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
            of_targets = loss_part(model, batch, num_targets=1, head=_Losses(model)).cpu()
            means += [float(of_targets[row].mean(dtype=torch.float64)) for row in batch.row_targets]
            _check(means, indices, rows)
            on_part()
        losses |= zip(indices, means, strict=True)  # parts keep the order of sorted rows
    return losses


def _check(
    means: Sequence[float], indices: Sequence[int], rows: Sequence[TokenizedExample]
) -> None:
    for mean, i in zip(means, indices, strict=False):
        if not math.isfinite(mean):
            raise NonFiniteError(
                f"eval_loss of row {rows[i].id} is {mean}: nothing can be chosen by it; lower "
                "learning_rate or look at this row"
            )


class _Losses:
    """A head that gives the loss of each target [N] and no sum of them."""

    def __init__(self, model: LanguageModel) -> None:
        self._weight: Tensor = model.get_output_embeddings().weight

    def __call__(self, hidden: Tensor, targets: Tensor, weights: Tensor) -> Tensor:
        wide = torch.promote_types(hidden.dtype, torch.float32)
        size = max(1, CHUNK_LOGITS // len(self._weight))
        parts = zip(hidden.split(size), targets.split(size), strict=True)
        return torch.cat(
            [cross_entropy((h @ self._weight.t()).to(wide), t, reduction="none") for h, t in parts]
        )
