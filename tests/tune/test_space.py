"""The `sweep:` section: what is drawn, and one line per fault."""

import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from datasets_src.errors import UserError
from tests.tune.conftest import SweepOf
from trainers.config.load import leaves
from tune.config import SweepConfig
from tune.space import Choice, Dimension, Range, Space, parse_space

SETTINGS = SweepConfig.model_fields


def parsed(raw: dict[str, Any]) -> Space:
    space, faults = parse_space(raw, settings=SETTINGS)
    assert not faults, faults
    return space


def fault_of(raw: dict[str, Any]) -> str:
    _, faults = parse_space(raw, settings=SETTINGS)
    assert len(faults) == 1, faults
    return faults[0]


def test_a_list_a_range_and_values_drawn_together() -> None:
    space = parsed(
        {
            "lora_r": [8, 16],
            "learning_rate": {"min": "1e-4", "max": 1e-2, "log": True},
            "_": [
                {"train_batch_size": 8, "warmup_steps": 2},
                {"train_batch_size": 16, "warmup_steps": 4},
            ],
        }
    )
    assert space.dimensions == (
        Dimension(("method.lora_r",), Choice(((8,), (16,)))),
        Dimension(("train.learning_rate",), Range(1e-4, 1e-2, log=True, integer=False)),
        Dimension(("train.train_batch_size", "train.warmup_steps"), Choice(((8, 2), (16, 4)))),
    )


def test_a_grid_is_every_combination_in_the_order_of_the_file() -> None:
    space = parsed({"lora_r": [8, 16], "seed": {"min": 1, "max": 3}})
    pairs = [(v["method.lora_r"], v["train.seed"]) for v in space.grid()]
    assert pairs == [(8, 1), (8, 2), (8, 3), (16, 1), (16, 2), (16, 3)]


def test_a_draw_depends_only_on_its_number_and_the_seed() -> None:
    space = parsed({"learning_rate": {"min": 1e-4, "max": 1e-2, "log": True}, "lora_r": [8, 16]})
    first = [space.random(7, n) for n in range(6)]
    assert [space.random(7, n) for n in (5, 3)] == [first[5], first[3]]
    assert len({draw["train.learning_rate"] for draw in first}) == 6
    assert {draw["method.lora_r"] for draw in first} == {8, 16}
    assert space.random(8, 0) != first[0]


@given(st.floats(0, 1, exclude_max=True), st.booleans())
@settings(deadline=None)
def test_values_stay_within_the_range(quantile: float, log: bool) -> None:
    value = Range(1e-5, 3e-3, log=log, integer=False).at(quantile)
    assert 1e-5 <= value <= 3e-3
    integer = Range(2, 9, log=log, integer=True).at(quantile)
    assert isinstance(integer, int) and 2 <= integer <= 9


def test_quantiles_are_uniform_on_the_requested_scale() -> None:
    assert Range(1e-4, 1e-2, log=True, integer=False).at(0.5) == pytest.approx(1e-3)
    assert Range(0.0, 1.0, log=False, integer=False).at(0.25) == 0.25
    counts = [Range(1, 4, log=False, integer=True).at(i / 1000) for i in range(1000)]
    assert [counts.count(n) for n in (1, 2, 3, 4)] == [250] * 4
    assert math.isclose(Range(1, 4, log=False, integer=True).at(0.999), 4)


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        ({"learning_rat": [1e-3]}, ["sweep.learning_rat", "did you mean train.learning_rate?"]),
        ({"num_sample": 3}, ["sweep.num_sample", "did you mean sweep.num_samples?"]),
        ({"learning_rate": []}, ["sweep.learning_rate", "no values"]),
        ({"learning_rate": {"min": 1e-2, "max": 1e-3}}, ["0.01 to max 0.001 is empty"]),
        ({"learning_rate": {"min": 1e-3, "max": 1e-3}}, ["is empty"]),
        ({"learning_rate": {"min": 0, "max": 1e-3, "log": True}}, ["no logarithm"]),
        ({"learning_rate": {"min": "low", "max": 1e-3}}, ["sweep.learning_rate.min", "'low'"]),
        ({"learning_rate": {"max": 1e-3}}, ["sweep.learning_rate.min", "None"]),
        (
            {"learning_rate": {"min": 1e-4, "max": 1e-3, "step": 1}},
            ["step is not a key of a range"],
        ),
        ({"lora_r": {"min": 1.5, "max": 8}}, ["integers"]),
        ({"lora_r": 8}, ["not a distribution", "[8, …]"]),
        ({"max_length": [256, 512]}, ["data.max_length", "could not be compared"]),
        ({"seed": [1], "_": [{"seed": 2}]}, ["train.seed: is searched twice"]),
        ({"_": []}, ["list of mappings"]),
        ({"_": [{"seed": 1}, {"lora_r": 8}]}, ["give each the same keys"]),
        ({}, ["searches nothing"]),
    ],
)
def test_a_fault_names_key_value_and_remedy(raw: dict[str, Any], words: list[str]) -> None:
    fault = fault_of(raw)
    assert all(word in fault for word in words), fault


@pytest.mark.parametrize(
    ("section", "overrides", "words"),
    [
        ({"lora_r": [8], "metric": "acuracy"}, {}, ["sweep.metric", "known: execution_accuracy"]),
        ({"lora_r": [8], "metric": "eval_loss", "mode": "max"}, {}, ["sweep.mode: max", "lower"]),
        ({"lora_r": [8], "scheduler": "pbt"}, {}, ["sweep.scheduler: pbt", "method.lora_r"]),
        (
            {"learning_rate": [1e-3], "scheduler": "pbt"},
            {"lr_scheduler_type": "cosine"},
            ["cosine", "set lr_scheduler_type=constant"],
        ),
        ({"learning_rate": [1e-3], "scheduler": "pbt", "searcher": "optuna"}, {}, ["optuna"]),
        ({"lora_r": [8], "scheduler": "hyper"}, {}, ["sweep.scheduler", "'hyper'", "'asha'"]),
        ({"lora_r": [8], "num_samples": 0}, {}, ["sweep.num_samples", "greater than or equal"]),
        ({"lora_r": [8]}, {"output_dir": "s3://bucket/runs"}, ["s3://bucket/runs", "all machines"]),
        ({"lora_r": [8]}, {"num_eval_workers": 1}, ["set num_eval_workers=0"]),
        ({"warmup_steps": {"min": 1, "max": 5}, "searcher": "grid"}, {}, ["warmup_steps", "range"]),
    ],
)
def test_a_fault_of_the_settings(
    sweep_of: SweepOf, section: dict[str, Any], overrides: dict[str, Any], words: list[str]
) -> None:
    with pytest.raises(UserError) as caught:
        sweep_of(section, **overrides)
    assert len(caught.value.faults) == 1
    assert all(word in caught.value.faults[0] for word in words), caught.value.faults


def test_all_faults_are_reported_at_once(sweep_of: SweepOf) -> None:
    with pytest.raises(UserError) as caught:
        sweep_of({"lora_rr": [8], "scheduler": "hyper", "learning_rate": []}, max_length="long")
    assert len(caught.value.faults) == 4, caught.value.faults


def test_an_override_reaches_config_setting_and_distribution(sweep_of: SweepOf) -> None:
    sweep = sweep_of(
        {"lora_r": [8]}, num_samples=3, **{"sweep.learning_rate": [1e-3], "lora_alpha": 64}
    )
    assert sweep.settings.num_samples == 3 and sweep.base.method.model_dump()["lora_alpha"] == 64
    assert sweep.space.names == ["method.lora_r", "train.learning_rate"]


def test_mode_and_metric_determine_the_best_trial(sweep_of: SweepOf) -> None:
    section = {"lora_r": [8]}
    assert sweep_of(section).mode == sweep_of(section | {"metric": "valid_sql"}).mode == "max"
    assert sweep_of(section | {"metric": "unsafe", "mode": "min"}).mode == "min"
    assert sweep_of(section | {"metric": "eval_loss"}).mode == "min"
    overrides = {"metric_for_best_model": "unsafe", "greater_is_better": False}
    assert sweep_of(section, **overrides).mode == "min"
    assert sweep_of(section | {"metric": "valid_sql"}, **overrides).mode == "max", (
        "greater_is_better is that of another metric"
    )


def test_no_setting_has_the_name_of_a_field() -> None:
    names = {name.rsplit(".", 1)[-1] for name, _ in leaves()}
    assert not names & SweepConfig.model_fields.keys()
