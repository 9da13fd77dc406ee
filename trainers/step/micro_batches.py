"""A worker's micro-batches of one step: cut for all workers, balanced by cost, packed lazily.

share = share_of_step(rows, config, rank=0, world_size=2)
train_step(engine, share.batches, num_targets=812, learning_rate=1e-4, seed=(42, 1))
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
    """One worker's part of a step.

    Attributes:
        batches: (index within the step, micro-batch) pairs, packed as they are consumed.
        ids: row ids of this worker, for the ledger.
        num_packed_tokens: packed tokens of the step, over all workers.
    """

    batches: Iterable[tuple[int, PackedBatch]]
    ids: tuple[str, ...]
    num_packed_tokens: int


def share_of_step(
    rows: Sequence[TokenizedExample], config: Config, *, rank: int, world_size: int
) -> Share:
    """The micro-batches of a step that worker `rank` computes.

    Every worker makes the same cut from the same rows, so no communication is needed.
    """
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
        pairs = fill_rounds(pairs, rounds=rounds, filler=lambda: packed(0))
    ids = tuple(row.id for i in shares[rank] for row in batches[i].rows)
    return Share(pairs, ids, sum(batch.num_tokens for batch in batches))


def fill_rounds(
    pairs: Iterable[tuple[int, PackedBatch]], *, rounds: int, filler: Callable[[], PackedBatch]
) -> Iterator[tuple[int, PackedBatch]]:
    """Yield `pairs`, then `filler` with zero weights up to `rounds` micro-batches.

    ZeRO gathers weights and reduces gradients with collectives in every forward and backward pass,
    so all workers must run the same number of micro-batches.
    """
    missing = rounds
    for pair in pairs:
        missing -= 1
        yield pair
    if missing:
        batch = filler()
        # The index only seeds dropout; -1 marks a micro-batch that is not one of the step's.
        yield from [(-1, replace(batch, weights=torch.zeros_like(batch.weights)))] * missing
