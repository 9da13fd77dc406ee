"""The batch plan: which rows each optimizer step trains on, as a pure function of the data.

    plan_run(lengths, seed=42, num_epochs=2, max_steps=-1, train_batch_size=8, max_tokens=4096)

The plan knows nothing of workers: any number of them shares out the same micro-batches. The
position in the data is the step number, so a resumed run needs no saved shuffle state.
"""

import itertools
import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from datasets_src.types import StepPlan

# A step is cut into a multiple of this many micro-batches where it has the rows, so that one, two
# or four workers get even shares; a constant, so that the plan is the same for any number.
MICRO_BATCHES = 4


def steps_per_epoch(num_rows: int, train_batch_size: int) -> int:
    """Steps of one epoch; the last one may be smaller, no row is dropped."""
    return math.ceil(num_rows / train_batch_size)


def plan_run(
    lengths: NDArray[np.int64],
    *,
    seed: int,
    num_epochs: int,
    max_steps: int,
    train_batch_size: int,
    max_tokens: int,
) -> list[StepPlan]:
    """All steps of a run, numbered from 1; each row exactly once an epoch.

    Args:
        lengths: [num_rows] tokens of each row.
        max_steps: cut the plan there; -1 keeps all epochs.
        max_tokens: padded tokens of a micro-batch; a longer row stands alone.
    """
    plan: list[StepPlan] = []
    for epoch in range(num_epochs):
        order = np.random.Generator(np.random.PCG64([seed, epoch])).permutation(len(lengths))
        for start in range(0, len(order), train_batch_size):
            rows = [int(row) for row in order[start : start + train_batch_size]]
            micro_batches = cut_micro_batches(rows, lengths, max_tokens)
            plan.append(StepPlan(len(plan) + 1, epoch, micro_batches))
    return plan if max_steps < 0 else plan[:max_steps]


def cut_micro_batches(
    rows: Sequence[int], lengths: NDArray[np.int64], max_tokens: int
) -> tuple[tuple[int, ...], ...]:
    """Rows of like length together, as many in each, each within `max_tokens` padded tokens."""
    by_length = sorted(rows, key=lambda row: (-int(lengths[row]), row))
    num_parts = MICRO_BATCHES
    while num_parts < len(rows):
        parts = _cut_evenly(by_length, num_parts)
        # The first row of a part is its longest and sets the padded width.
        if all(len(part) * int(lengths[part[0]]) <= max_tokens for part in parts):
            return parts
        num_parts += MICRO_BATCHES
    return tuple((row,) for row in by_length)


def _cut_evenly(rows: Sequence[int], num_parts: int) -> tuple[tuple[int, ...], ...]:
    """Contiguous parts whose sizes differ by one at the most, the larger ones last."""
    bounds = [len(rows) * part // num_parts for part in range(num_parts + 1)]
    return tuple(tuple(rows[a:b]) for a, b in itertools.pairwise(bounds))


def share_out(costs: Sequence[int], num_workers: int) -> list[list[int]]:
    """Indices of micro-batches for each worker: the dearest first, to the least loaded.

    Each worker's list is in ascending order, so that its sums are always added the same way.
    """
    loads = [0] * num_workers
    shares: list[list[int]] = [[] for _ in range(num_workers)]
    for index in sorted(range(len(costs)), key=lambda i: (-costs[i], i)):
        worker = min(range(num_workers), key=lambda w: (loads[w], w))
        shares[worker].append(index)
        loads[worker] += costs[index]
    return [sorted(share) for share in shares]
