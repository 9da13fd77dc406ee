"""The batch plan: which rows each optimizer step trains on, as a pure function of the data.

    plan = plan_run(num_rows, seed=42, num_epochs=2, max_steps=-1, train_batch_size=16)
    cut_step(rows, num_workers=2, max_tokens=4096, min_share=8)     -> micro-batches of one step

The steps know nothing of workers. A step is cut into micro-batches when it is taken, for as many
workers as there are then: every cut computes the prefixes on both of its sides once more, so there
are no more of them than workers and memory ask for. The gradient is the same however it is cut.
The position in the data is the step number, so a resumed run needs no saved shuffle state.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice, pairwise

import numpy as np

from datasets_src.batching.trie import Ids, shared_lengths, sort_rows, trie_size
from datasets_src.types import StepPlan, TokenizedExample

# Cuts that are compared for a step: with ever more parts, products get too small to be fast.
MAX_CUTS = 4


@dataclass(frozen=True)
class MicroBatch:
    """Rows that are packed together, and the number of tokens they are packed into."""

    rows: tuple[TokenizedExample, ...]
    num_tokens: int


def steps_per_epoch(num_rows: int, train_batch_size: int) -> int:
    """Steps of one epoch; the last one may be smaller, no row is dropped."""
    return math.ceil(num_rows / train_batch_size)


def plan_run(
    num_rows: int,
    *,
    seed: int,
    num_epochs: int,
    max_steps: int,
    train_batch_size: int,
    units: Sequence[Sequence[int]] | None = None,
) -> list[StepPlan]:
    """All steps of a run, numbered from 1; each row exactly once an epoch.

    Args:
        max_steps: cut the plan there; -1 keeps all epochs.
        units: rows that stay together when the epoch is shuffled (`prefix_units`); by default
            each row is shuffled on its own.
    """
    units = [[row] for row in range(num_rows)] if units is None else units
    plan: list[StepPlan] = []
    for epoch in range(num_epochs):
        order = np.random.Generator(np.random.PCG64([seed, epoch])).permutation(len(units))
        rows = [row for unit in order for row in units[unit]]
        assert len(rows) == num_rows
        for start in range(0, num_rows, train_batch_size):
            step = len(plan) + 1
            plan.append(StepPlan(step, epoch, tuple(rows[start : start + train_batch_size])))
    return plan if max_steps < 0 else plan[:max_steps]


def prefix_units(rows: Sequence[Ids], group_size: int) -> list[list[int]]:
    """Groups of `group_size` rows that are neighbours in the order of their token ids."""
    order = sort_rows(rows)
    return [order[start : start + group_size] for start in range(0, len(order), group_size)]


def cut_step(
    rows: Sequence[TokenizedExample], *, num_workers: int, max_tokens: int, min_share: int
) -> list[MicroBatch]:
    """Cut one step's rows into micro-batches of about the same cost.

    Args:
        num_workers: the number of micro-batches is a multiple of it; fewer where there are fewer
            rows.
        max_tokens: packed tokens of a micro-batch; a longer row stands alone.
    """
    rows = [rows[i] for i in sort_rows([row.input_ids for row in rows])]
    lengths = [len(row.input_ids) for row in rows]
    shared = shared_lengths([row.input_ids for row in rows])

    def size(first: int, last: int) -> int:
        return trie_size(lengths[first:last], shared[first : last - 1], min_share=min_share)

    def load(parts: Sequence[tuple[int, int]]) -> int:
        costs = [size(*part) for part in parts]
        return max(sum(costs[i] for i in share) for share in share_out(costs, num_workers))

    # More parts share out more evenly, but repeat more prefixes: of the first few cuts that fit,
    # the one whose busiest worker has the least to do, and of equal ones the coarsest.
    counts = range(num_workers, len(rows), num_workers)
    cuts = (_cut_evenly(lengths, shared, num_parts) for num_parts in counts)
    fitting = (cut for cut in cuts if max(size(*part) for part in cut) <= max_tokens)
    first_few = list(islice(fitting, MAX_CUTS if num_workers > 1 else 1))
    parts = min(first_few, key=load, default=[(i, i + 1) for i in range(len(rows))])
    return [MicroBatch(tuple(rows[a:b]), size(a, b)) for a, b in parts]


def _cut_evenly(
    lengths: Sequence[int], shared: Sequence[int], num_parts: int
) -> list[tuple[int, int]]:
    """At most `num_parts` contiguous parts, the largest trie as small as can be (by bisection)."""
    low, high = max(lengths), sum(lengths)
    while low < high:
        middle = (low + high) // 2
        if len(_fill(lengths, shared, middle)) <= num_parts:
            high = middle
        else:
            low = middle + 1
    return _fill(lengths, shared, low)


def _fill(lengths: Sequence[int], shared: Sequence[int], limit: int) -> list[tuple[int, int]]:
    """Parts from the left, each as long as its trie stays within `limit` tokens."""
    cuts, size = [0], lengths[0]
    for i in range(1, len(lengths)):
        size += lengths[i] - shared[i - 1]
        if size > limit:
            cuts.append(i)
            size = lengths[i]
    return list(pairwise([*cuts, len(lengths)]))


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
