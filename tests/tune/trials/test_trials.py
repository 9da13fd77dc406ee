"""From draws to trials and groups: equal configs are one, epochs share a run where they can."""

from pathlib import Path
from typing import Any

import pytest

from datasets_src.errors import UserError
from tests.tune.conftest import SweepOf
from tune.config import Sweep
from tune.strategy.searchers import next_draws
from tune.trials.segments import GroupBuilder, TrialGroup, group_trials
from tune.trials.trials import Trials, check_range_limits

ROWS = 100  # at 16 per step, 7 steps per epoch
GRID = {"searcher": "grid", "reduction_factor": 2}


def groups_of(sweep: Sweep) -> list[TrialGroup]:
    trials = Trials(sweep).add(next_draws(sweep, []))
    return group_trials(trials, GroupBuilder(sweep.settings, sweep.scoring, ROWS, Path("/s")))


def segments_of(group: TrialGroup) -> list[tuple[str, int, int | None]]:
    return [(segment.run.key, segment.until, segment.rung) for segment in group.segments]


def test_epochs_share_one_run_under_a_constant_rate(sweep_of: SweepOf) -> None:
    values = {"learning_rate": [1e-3, 1e-4], "num_train_epochs": [2, 6]}
    section = {**values, **GRID, "metric": "valid_sql"}
    groups = groups_of(sweep_of(section))
    assert [[t.number for t in group.trials] for group in groups] == [[0, 1], [2, 3]]
    key = groups[0].trials[1].key
    assert segments_of(groups[0]) == [(key, 7, 1), (key, 14, 2), (key, 28, 4), (key, 42, None)]
    assert [(run.key, last) for run, last in groups[0].ends] == [(key, 14), (key, 42)]
    config = groups[0].segments[0].run.config
    assert config.train.num_train_epochs == 6 and config.run_name == key
    assert config.eval.metric_for_best_model == "valid_sql" and not config.eval.eval_on_start


@pytest.mark.parametrize(
    ("overrides", "num_groups"),
    [
        ({}, 1),
        ({"lr_scheduler_type": "cosine"}, 2),
        ({"warmup_steps": 0.1}, 2),
        ({"save_strategy": "steps"}, 2),
    ],
)
def test_epochs_are_trained_separately_where_the_schedule_depends_on_the_length(
    sweep_of: SweepOf, overrides: dict[str, Any], num_groups: int
) -> None:
    assert len(groups_of(sweep_of({"num_train_epochs": [2, 6], **GRID}, **overrides))) == num_groups


def test_warmup_stable_decay_branches_from_a_constant_trunk(sweep_of: SweepOf) -> None:
    section = {"num_train_epochs": [2, 6], **GRID}
    [group] = groups_of(
        sweep_of(section, lr_scheduler_type="warmup_stable_decay", decay_steps=0.25)
    )
    trunk, short, long = (group.segments[i].run for i in (0, 1, 3))
    assert trunk.config.train.lr_scheduler_type == "constant"
    # 14 steps decay over 4, 42 over 11.
    assert segments_of(group) == [
        (trunk.key, 10, None), (short.key, 14, 2), (trunk.key, 31, None), (long.key, 42, None),
    ]  # fmt: skip
    assert [segment.parent for segment in group.segments] == [None, (trunk, 10), None, (trunk, 31)]
    assert [segment.scored for segment in group.segments] == [False, True, False, True]
    assert [run.key for run, _ in group.ends] == [t.key for t in group.trials]


def test_a_draw_is_tried_with_every_number_of_epochs_that_shares_training(
    sweep_of: SweepOf,
) -> None:
    section = {"learning_rate": {"min": 1e-4, "max": 1e-2, "log": True}, "num_train_epochs": [2, 6]}
    shared = groups_of(sweep_of(section | {"num_samples": 3}))
    assert [len(group.trials) for group in shared] == [2, 2, 2]
    apart = groups_of(sweep_of(section | {"num_samples": 3}, lr_scheduler_type="cosine"))
    assert [len(group.trials) for group in apart] == [1, 1, 1]


def test_equal_configs_are_one_trial(sweep_of: SweepOf) -> None:
    sweep = sweep_of({"lora_r": [8, 8, 16], "seed": [1], **GRID})
    trials = Trials(sweep)
    assert [t.values["method.lora_r"] for t in trials.add(next_draws(sweep, []))] == [8, 16]
    assert [keys[0] for _, keys in trials.draws] == [
        trials.draws[0][1][0], trials.draws[0][1][0], trials.draws[2][1][0],
    ]  # fmt: skip
    assert trials.add(next_draws(sweep, [])) == []


def test_values_are_as_validated(sweep_of: SweepOf) -> None:
    sweep = sweep_of({"learning_rate": ["3e-3"], **GRID})
    [trial] = Trials(sweep).add(next_draws(sweep, []))
    assert trial.values == {"train.learning_rate": 0.003}


def test_the_key_depends_on_what_affects_the_result_and_not_on_names(sweep_of: SweepOf) -> None:
    def key(**overrides: Any) -> str:
        [group] = groups_of(sweep_of({"lora_r": [8]}, **overrides))
        return group.trials[0].key

    assert key() == key(run_name="other", num_workers=2, output_dir="elsewhere")
    assert key() != key(lora_alpha=8) and key() != key(seed=1)


def test_every_trial_is_validated_before_any_starts(sweep_of: SweepOf) -> None:
    sweep = sweep_of({"lora_r": [8, 0, -1], "learning_rate": [1e-3, 7], **GRID})
    with pytest.raises(UserError) as caught:
        Trials(sweep).add(next_draws(sweep, []))
    assert len(caught.value.faults) == 3, caught.value.faults
    with pytest.raises(UserError, match=r"train.learning_rate: 9.0 should be less than or equal"):
        check_range_limits(sweep_of({"learning_rate": {"min": 1e-3, "max": 9.0}}))


def test_saves_by_steps_are_rungs_too(sweep_of: SweepOf) -> None:
    sweep = sweep_of({"lora_r": [8], **GRID}, save_strategy="steps", save_steps=5, max_steps=18)
    [group] = groups_of(sweep)
    assert [(segment.until, segment.rung) for segment in group.segments] == [
        (5, 1),
        (10, 2),
        (18, None),
    ]


def test_optuna_replays_its_draws_and_learns_from_complete_batches_only(
    sweep_of: SweepOf,
) -> None:
    section = {"learning_rate": {"min": 1e-4, "max": 1e-2, "log": True}, "lora_r": [8, 16]}
    sweep = sweep_of(section | {"searcher": "optuna", "num_samples": 10})
    first = next_draws(sweep, [])
    assert len(first) == 4 and next_draws(sweep, []) == first
    second = next_draws(sweep, [0.1, 0.2, None, 0.4])
    assert len(second) == 4 and second == next_draws(sweep, [0.1, 0.2, None, 0.4])
    assert len(next_draws(sweep, [0.1] * 8)) == 2 and next_draws(sweep, [0.1] * 10) == []
