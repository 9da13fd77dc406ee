"""Each worker's micro-batches of a step; dropout does not depend on the worker that runs them."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.trainers.step.plain_step import build_model, count_targets, random_rows
from trainers.config.schema import Config, LoraMethod
from trainers.methods.lora import add_adapter
from trainers.step.micro_batches import share_of_step
from trainers.step.packing import PackedBatch, pack
from trainers.step.train_step import DataParallelEngine, train_step


@given(num_rows=st.integers(1, 20), world_size=st.integers(1, 5))
@settings(max_examples=40, deadline=None)
def test_micro_batches_of_all_workers_are_the_step(num_rows: int, world_size: int) -> None:
    config = Config.model_validate({"run_name": "x", "data": {"train_file": "x.jsonl"}})
    rows = random_rows(num_rows)
    shares = [
        share_of_step(rows, config, rank=rank, world_size=world_size) for rank in range(world_size)
    ]
    [num_tokens] = {share.num_packed_tokens for share in shares}
    taken = {index: batch for share in shares for index, batch in share.batches}
    # Indices count within the step, not within the worker: they seed the dropout.
    assert sorted(taken) == list(range(len(taken)))
    assert sum(len(batch.ids) for batch in taken.values()) == num_tokens
    assert sorted(i for share in shares for i in share.ids) == sorted(row.id for row in rows)
    assert sum(float(batch.weights.sum()) for batch in taken.values()) == count_targets(rows)


def adapter_update(
    batches: list[tuple[int, PackedBatch]], *, seed: tuple[int, int] = (1, 5)
) -> torch.Tensor:
    """The change of an adapter with dropout after one SGD step."""
    torch.manual_seed(99)
    model = add_adapter(build_model(), LoraMethod(lora_r=2, lora_dropout=0.5), seed=0)
    params = [p for p in model.parameters() if p.requires_grad]
    before = [p.detach().clone() for p in params]
    train_step(
        DataParallelEngine(model, torch.optim.SGD(params), max_grad_norm=1e9),
        batches,
        num_targets=9,
        learning_rate=1.0,
        seed=seed,
    )
    return torch.cat([(p.detach() - old).flatten() for p, old in zip(params, before, strict=True)])


def test_dropout_of_a_micro_batch_depends_on_neither_worker_nor_order() -> None:
    examples = random_rows(5)
    first, second = pack(examples[:2], min_share=4), pack(examples[2:], min_share=4)
    together = adapter_update([(0, first), (1, second)])
    torch.testing.assert_close(
        together, adapter_update([(0, first)]) + adapter_update([(1, second)])
    )
    torch.testing.assert_close(together, adapter_update([(1, second), (0, first)]))
    assert not torch.allclose(together, adapter_update([(0, second), (1, first)]))
    assert not torch.allclose(together, adapter_update([(0, first), (1, second)], seed=(2, 5)))
    assert not torch.allclose(together, adapter_update([(0, first), (1, second)], seed=(1, 6)))
