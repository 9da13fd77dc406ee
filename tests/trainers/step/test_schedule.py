"""The learning rate equals that of transformers' schedulers."""

import pytest
import torch
from pydantic import ValidationError
from transformers import get_scheduler

from trainers.config.schema import TrainConfig
from trainers.config.step_rules import stretched
from trainers.step.schedule import learning_rate

WSD = "warmup_stable_decay"


@pytest.mark.parametrize("kind", ["linear", "cosine", WSD])
@pytest.mark.parametrize("warmup", [0, 7])
def test_rates_equal_transformers_schedulers(kind: str, warmup: int) -> None:
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


def test_warm_up_is_linear_and_below_one_a_fraction_of_all_steps() -> None:
    def rates(warmup: float) -> list[float]:
        return [
            learning_rate(s, peak=1.0, total_steps=20, warmup_steps=warmup, kind="constant")
            for s in range(1, 21)
        ]

    assert rates(0.25) == rates(5)
    assert rates(5)[:7] == pytest.approx([0, 0.2, 0.4, 0.6, 0.8, 1.0, 1.0])


def test_the_rules_of_a_piecewise_constant_rate() -> None:
    def rates(rules: str, warmup: int = 0) -> list[float]:
        return [
            learning_rate(
                step, peak=2.0, total_steps=9, warmup_steps=warmup, kind="piecewise_constant",
                step_rules=rules,
            )
            for step in range(1, 10)
        ]  # fmt: skip

    assert rates("1:3,0.5:6,0.25") == [2.0] * 3 + [1.0] * 3 + [0.5] * 3
    assert rates("1") == [2.0] * 9 and rates("1", warmup=2)[:3] == [0.0, 1.0, 2.0]


@pytest.mark.parametrize(
    "rules", ["", "1:3", "1:x,2", "1:5,0.5:5,1", "1:0,2", "1:4,0", "1:2:3,1", "nan:5,1"]
)
def test_invalid_rules_are_refused(rules: str) -> None:
    with pytest.raises(ValidationError, match=r"is not valid; write '1:50,0.5:80,0.1'"):
        TrainConfig(lr_scheduler_type="piecewise_constant", step_rules=rules)


def test_rules_and_their_schedule_go_together() -> None:
    for settings in ({"step_rules": "1:3,0.5"}, {"lr_scheduler_type": "piecewise_constant"}):
        with pytest.raises(ValidationError, match="or neither"):
            TrainConfig.model_validate(settings)


def test_rules_are_stretched_and_stay_below_a_rate_of_one() -> None:
    assert stretched("1:10,0.8:20,0.96", 1.25) == "1:12,0.8:25,0.96" and stretched("1", 2) == "1"
    with pytest.raises(ValidationError, match=r"1000 times learning_rate 0\.01 is above 1"):
        TrainConfig(
            learning_rate=0.01, lr_scheduler_type="piecewise_constant", step_rules="1:5,1000"
        )
