"""The step is AdamW on the clipped mean gradient for any cut; non-finite values raise."""

import pytest
import torch

from tests.trainers.step.plain_step import (
    build_model,
    count_targets,
    gradients,
    plain_backward,
    random_rows,
)
from trainers.config.schema import LoraMethod
from trainers.methods.lora import add_adapter
from trainers.step.packing import PackedBatch, pack
from trainers.step.train_step import DataParallelEngine, NonFiniteError, train_step


def packed(num_rows: int) -> PackedBatch:
    return pack(random_rows(num_rows), min_share=4)


def test_a_step_is_adamw_on_the_clipped_mean_gradient() -> None:
    examples = random_rows(6)
    model, reference = build_model(), build_model()
    want_loss = plain_backward(reference, examples)
    norm = torch.cat([g.flatten() for g in gradients(reference).values()]).norm()
    optimizers = [torch.optim.AdamW(m.parameters(), lr=9.0) for m in (model, reference)]
    loss, got_norm = train_step(
        DataParallelEngine(model, optimizers[0], max_grad_norm=0.5),
        [(0, pack(examples[:2], min_share=4)), (1, pack(examples[2:], min_share=4))],
        num_targets=count_targets(examples),
        learning_rate=1e-2,
        seed=(1, 1),
    )
    assert got_norm == pytest.approx(float(norm), rel=1e-12) and got_norm > 0.5
    assert loss == pytest.approx(want_loss, rel=1e-12)
    torch.nn.utils.clip_grad_norm_(reference.parameters(), 0.5)
    optimizers[1].param_groups[0]["lr"] = 1e-2
    optimizers[1].step()
    for ours, theirs in zip(model.parameters(), reference.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-9)


def test_a_loss_that_is_not_finite_leaves_the_weights() -> None:
    base = build_model()
    with torch.no_grad():
        base.lm_head.weight[3] = float("inf")
    model = add_adapter(base, LoraMethod(lora_r=2), seed=0)
    before = [p.clone() for p in model.parameters()]
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad])
    with pytest.raises(NonFiniteError, match="on rank 0"):
        train_step(
            DataParallelEngine(model, optimizer, max_grad_norm=1.0),
            [(0, packed(3))],
            num_targets=9,
            learning_rate=1e-2,
            seed=(1, 1),
        )
    assert all(torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))


def test_dropout_depends_on_the_step_and_the_micro_batch_only() -> None:
    def gradient(seed: tuple[int, ...], index: int) -> torch.Tensor:
        model = add_adapter(build_model(), LoraMethod(lora_r=2, lora_dropout=0.5), seed=0).train()
        torch.rand(7)  # the global generator's state must not matter
        optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad])
        train_step(
            DataParallelEngine(model, optimizer, max_grad_norm=1e9),
            [(index, packed(3))],
            num_targets=9,
            learning_rate=1.0,
            seed=seed,
        )
        return torch.cat([p.detach().flatten() for p in model.parameters() if p.requires_grad])

    assert torch.equal(gradient((1, 5), 0), gradient((1, 5), 0))
    assert not torch.equal(gradient((1, 5), 0), gradient((1, 6), 0))
    assert not torch.equal(gradient((1, 5), 0), gradient((1, 5), 1))
