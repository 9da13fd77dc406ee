"""The batch plan: the rows of each optimizer step, as a pure function of data and seed.

    plan = plan_run(num_rows, seed=42, num_epochs=2, max_steps=-1, train_batch_size=16)
    cut_step(rows, num_workers=2, max_tokens=4096, min_share=8)     -> micro-batches of one step

The plan does not depend on the world size. A step is cut into micro-batches when it is taken, for
the workers of that moment. Each cut repeats the prefixes that both of its sides share, so there are
no more cuts than workers and memory require. The gradient does not depend on the cuts. The step
number is the position in the data, so a resumed run needs no saved shuffle state.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice, pairwise

import numpy as np

from datasets_src.batching.trie import Ids, shared_lengths, sort_rows, trie_size
from datasets_src.types import StepPlan, TokenizedExample

# Number of cuts compared per step: with more and smaller parts, matrix products get slow.
MAX_CUTS = 4


@dataclass(frozen=True)
class MicroBatch:
    """Rows that are packed together, and their number of packed tokens."""

    rows: tuple[TokenizedExample, ...]
    num_tokens: int


def steps_per_epoch(num_rows: int, train_batch_size: int) -> int:
    """Steps of one epoch; the last one may be smaller, as no row is dropped."""
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
    """All steps of a run, numbered from 1, with each row exactly once per epoch.

    Args:
        max_steps: length of the plan at most; -1 keeps all epochs.
        units: groups of rows that are shuffled as one (`prefix_units`); by default every row is
            a group.
    """
    units = [[row] for row in range(num_rows)] if units is None else units
    plan: list[StepPlan] = []
    for epoch in range(num_epochs):
        # Named bit generator: default_rng may change with NumPy, and a resumed run's order with it.
        order = np.random.Generator(np.random.PCG64([seed, epoch])).permutation(len(units))
        rows = [row for unit in order for row in units[unit]]
        assert len(rows) == num_rows
        for start in range(0, num_rows, train_batch_size):
            step = len(plan) + 1
            plan.append(StepPlan(step, epoch, tuple(rows[start : start + train_batch_size])))
    return plan if max_steps < 0 else plan[:max_steps]


def prefix_units(rows: Sequence[Ids], group_size: int) -> list[list[int]]:
    """Groups of `group_size` rows that are neighbours when sorted by token ids."""
    order = sort_rows(rows)
    return [order[start : start + group_size] for start in range(0, len(order), group_size)]


def cut_step(
    rows: Sequence[TokenizedExample], *, num_workers: int, max_tokens: int, min_share: int
) -> list[MicroBatch]:
    """Cut one step's rows into micro-batches of similar cost, contiguous in sorted order.

    Args:
        num_workers: the number of micro-batches is a multiple of it, or the number of rows if
            there are not enough of them.
        max_tokens: maximum packed tokens per micro-batch; a longer row gets one of its own.
        min_share: minimum length, in tokens, of a prefix that is computed once.
    """
    # Sorted, rows that share a prefix are neighbours, so that contiguous parts repeat few tokens.
    rows = [rows[i] for i in sort_rows([row.input_ids for row in rows])]
    lengths = [len(row.input_ids) for row in rows]
    shared = shared_lengths([row.input_ids for row in rows])

    def size(first: int, last: int) -> int:
        return trie_size(lengths[first:last], shared[first : last - 1], min_share=min_share)

    def load(parts: Sequence[tuple[int, int]]) -> int:
        costs = [size(*part) for part in parts]
        return max(sum(costs[i] for i in share) for share in share_out(costs, num_workers))

    # More parts balance better but repeat more prefixes: of the first few cuts that fit, take the
    # one whose busiest worker has the least to do, and of equal ones the coarsest. One worker has
    # nothing to balance and takes the first.
    counts = range(num_workers, len(rows), num_workers)
    cuts = (_cut_evenly(lengths, shared, num_parts) for num_parts in counts)
    fitting = (cut for cut in cuts if max(size(*part) for part in cut) <= max_tokens)
    first_few = list(islice(fitting, MAX_CUTS if num_workers > 1 else 1))
    parts = min(first_few, key=load, default=[(i, i + 1) for i in range(len(rows))])
    return [MicroBatch(tuple(rows[a:b]), size(a, b)) for a, b in parts]


def _cut_evenly(
    lengths: Sequence[int], shared: Sequence[int], num_parts: int
) -> list[tuple[int, int]]:
    """At most `num_parts` contiguous parts whose largest trie is as small as possible."""
    # Bisection over the limit: filling from the left needs the fewest parts for any limit.
    low, high = max(lengths), sum(lengths)
    while low < high:
        middle = (low + high) // 2
        if len(_fill(lengths, shared, middle)) <= num_parts:
            high = middle
        else:
            low = middle + 1
    return _fill(lengths, shared, low)


def _fill(lengths: Sequence[int], shared: Sequence[int], limit: int) -> list[tuple[int, int]]:
    """Parts from the left, each extended while its trie stays within `limit` tokens."""
    # Tries with min_share 1, whose size grows by what a row adds to its neighbour: a lower bound
    # of the packed tokens, updated in constant time. cut_step checks the real size.
    cuts, size = [0], lengths[0]
    for i in range(1, len(lengths)):
        size += lengths[i] - shared[i - 1]
        if size > limit:
            cuts.append(i)
            size = lengths[i]
    return list(pairwise([*cuts, len(lengths)]))


def share_out(costs: Sequence[int], num_workers: int) -> list[list[int]]:
    """Indices of micro-batches per worker, by longest-processing-time-first (Graham 1969).

    The costliest comes first and goes to the least loaded worker: within 4/3 of the best schedule.
    Each worker's list is ascending, so that its sums are always added in the same order.
    """
    loads = [0] * num_workers
    shares: list[list[int]] = [[] for _ in range(num_workers)]
    for index in sorted(range(len(costs)), key=lambda i: (-costs[i], i)):
        worker = min(range(num_workers), key=lambda w: (loads[w], w))
        shares[worker].append(index)
        loads[worker] += costs[index]
    return [sorted(share) for share in shares]
