"""The learning rate against transformers' own schedules."""

import pytest
import torch
from transformers import get_scheduler

from trainers.schedule import learning_rate

WSD = "warmup_stable_decay"


@pytest.mark.parametrize("kind", ["linear", "cosine", WSD])
@pytest.mark.parametrize("warmup", [0, 7])
def test_the_rate_is_the_one_of_transformers(kind: str, warmup: int) -> None:
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.3)
    theirs = get_scheduler(
        kind,
        optimizer,
        num_warmup_steps=warmup,
        num_training_steps=50,
        scheduler_specific_kwargs=(
            {"num_decay_steps": 12, "decay_type": "linear"} if kind == WSD else None
        ),
    )
    for step in range(1, 51):
        ours = learning_rate(
            step, peak=0.3, total_steps=50, warmup_steps=warmup, kind=kind, decay_steps=12
        )
        assert ours == pytest.approx(theirs.get_last_lr()[0], abs=1e-12)
        optimizer.step()
        theirs.step()


def test_warm_up_is_linear_and_a_share_below_one() -> None:
    def rates(warmup: float) -> list[float]:
        return [
            learning_rate(s, peak=1.0, total_steps=20, warmup_steps=warmup, kind="constant")
            for s in range(1, 21)
        ]

    assert rates(0.25) == rates(5)
    assert rates(5)[:7] == pytest.approx([0, 0.2, 0.4, 0.6, 0.8, 1.0, 1.0])
