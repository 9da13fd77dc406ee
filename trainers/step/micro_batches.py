"""A worker's micro-batches of one step: cut for all workers, shared out by cost, packed.

share = share_of_step(rows, config, rank=0, world_size=2)
train_step(engine, share.batches, ...)
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import torch

from datasets_src.batching.plan import cut_step, share_out
from datasets_src.types import TokenizedExample
from trainers.config.schema import Config
from trainers.step.packing import PackedBatch, pack


@dataclass(frozen=True)
class Share:
    """A worker's part of a step: (index, micro-batch) pairs, packed as they are taken, and the ids
    of their rows. `num_packed_tokens` are those of all workers."""

    batches: Iterable[tuple[int, PackedBatch]]
    ids: tuple[str, ...]
    num_packed_tokens: int


def share_of_step(
    rows: Sequence[TokenizedExample], config: Config, *, rank: int, world_size: int
) -> Share:
    """What this worker computes of a step."""
    train = config.train
    batches = cut_step(
        rows,
        num_workers=world_size,
        max_tokens=train.max_tokens_per_micro_batch,
        min_share=train.min_share,
    )

    def packed(index: int) -> PackedBatch:
        return pack(batches[index].rows, min_share=train.min_share)

    shares = share_out([batch.num_tokens for batch in batches], world_size)
    pairs: Iterable[tuple[int, PackedBatch]] = ((i, packed(i)) for i in shares[rank])
    if config.scaling.zero_stage:
        rounds = max(len(share) for share in shares)
        pairs = fill_rounds(pairs, rounds=rounds, spare=lambda: packed(0))
    ids = tuple(row.id for i in shares[rank] for row in batches[i].rows)
    return Share(pairs, ids, sum(batch.num_tokens for batch in batches))


def fill_rounds(
    pairs: Iterable[tuple[int, PackedBatch]], *, rounds: int, spare: Callable[[], PackedBatch]
) -> Iterator[tuple[int, PackedBatch]]:
    """`pairs`, then `spare` without weight until there are `rounds` of them.

    Under ZeRO the workers gather weights and reduce gradients together, so each must run as many
    micro-batches as any other.
    """
    missing = rounds
    for pair in pairs:
        missing -= 1
        yield pair
    if missing:
        batch = spare()
        yield from [(-1, replace(batch, weights=torch.zeros_like(batch.weights)))] * missing
