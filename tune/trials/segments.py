"""From trials to the runs that train them: groups of trials that share training, in segments.

Trials that differ only in `num_train_epochs` form a group where the schedule allows it; it is
trained once and scored at the end of each trial: under `constant` by one run, under
`warmup_stable_decay` by a trunk at the constant rate, from which each trial branches for its decay.
A group is trained segment by segment; between segments it is a checkpoint and holds no resource.

    TrialGroup 0  trials 0 (2 epochs), 1 (4 epochs)   segments: run 3f2a until step 55, 110, 220
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from datasets_src.batching.plan import steps_per_epoch
from trainers.config.eval_section import EvalConfig
from trainers.config.schema import Config, ExportConfig, HubConfig, TrainConfig
from trainers.config.step_rules import num_steps
from tune.config import SweepConfig
from tune.trials.trials import Trial, key_of, shares_epochs


@dataclass(frozen=True)
class Run:
    """A run directory of the sweep, trials/<key>; `config` is the one in it."""

    key: str
    config: Config

    @property
    def directory(self) -> Path:
        """<sweep>/trials/<key>"""
        return Path(self.config.output_dir) / self.key


@dataclass(frozen=True)
class Segment:
    """Train `run` until a step.

    Attributes:
        until: the last step of the segment.
        rung: where the segment's last score is compared with others (None: it is not).
        scored: False for a segment that only makes a checkpoint to branch from.
        parent: another run, and the step of its checkpoint to branch from.
        rows: prepared rows other than the sweep's.
    """

    run: Run
    until: int
    rung: int | None = None
    scored: bool = True
    parent: tuple[Run, int] | None = None
    rows: Path | None = None


@dataclass(frozen=True)
class TrialGroup:
    """Trials that share their training. `ends[i]`: run and last step of `trials[i]`."""

    number: int
    trials: tuple[Trial, ...]
    segments: tuple[Segment, ...]
    ends: tuple[tuple[Run, int], ...]

    @property
    def rungs(self) -> tuple[int, ...]:
        """The saves after which the scheduler decides whether the group continues."""
        return tuple(segment.rung for segment in self.segments if segment.rung is not None)


@dataclass(frozen=True)
class GroupBuilder:
    """What segments depend on in addition to their trials; `num_rows` counts training rows."""

    settings: SweepConfig
    scoring: EvalConfig
    num_rows: int
    directory: Path

    def run(self, config: Config, key: str) -> Run:
        """The run of a config in the sweep's directory.

        It is scored by the sweep's metric, without baselines (the sweep scores these once), and
        neither exported nor pushed.
        """
        limit = self.settings.save_total_limit
        changes: dict[str, Any] = {
            "run_name": key,
            "output_dir": str(self.directory / "trials"),
            "eval": self.scoring.model_copy(update={"eval_on_start": False}),
            "checkpoint": config.checkpoint.model_copy(update={"save_total_limit": limit}),
            "hub": HubConfig(),
            "export": ExportConfig(export_best=False),
        }
        return Run(key, config.model_copy(update=changes))

    def steps(self, config: Config) -> int:
        """Steps of the whole run."""
        train = config.train
        total = train.num_train_epochs * steps_per_epoch(self.num_rows, train.train_batch_size)
        return min(total, train.max_steps) if train.max_steps > 0 else total

    def rungs(self, num_saves: int) -> list[int]:
        """The saves after which the scheduler decides on a group of `num_saves` saves."""
        first, factor = self.settings.grace_period, self.settings.reduction_factor
        if self.settings.scheduler == "none":
            return []
        if self.settings.scheduler == "median":
            return list(range(first, num_saves))
        if self.settings.scheduler == "pbt":
            return list(range(first, num_saves, first))
        powers = (first * factor**k for k in range(64))
        return [rung for rung in powers if rung < num_saves]

    def steps_per_save(self, config: Config) -> int:
        """Steps from one save to the next."""
        if config.checkpoint.save_strategy == "epoch":
            return steps_per_epoch(self.num_rows, config.train.train_batch_size)
        return config.checkpoint.save_steps

    def child(self, trial: Trial, number: int, *, parent: Run, rung: int) -> TrialGroup:
        """A group that branches from `parent`'s checkpoint at `rung`."""
        whole = _one_run(self, number, (trial,))
        step = rung * self.steps_per_save(trial.config)
        first, *rest = (segment for segment in whole.segments if segment.until > step)
        return replace(whole, segments=(replace(first, parent=(parent, step)), *rest))


def group_trials(
    trials: Sequence[Trial], builder: GroupBuilder, *, first: int = 0
) -> list[TrialGroup]:
    """Groups of trials that were drawn together, numbered from `first`."""
    by_key: dict[str, list[Trial]] = {}
    for trial in trials:
        key = trial.key
        if shares_epochs(trial.config):
            key = key_of(_with_train(trial.config, num_train_epochs=1))
        by_key.setdefault(key, []).append(trial)
    groups = []
    for number, members in enumerate(by_key.values(), start=first):
        members.sort(key=lambda trial: trial.config.train.num_train_epochs)
        build = _trunk_and_branches if _decays(members[-1].config) and members[1:] else _one_run
        groups.append(build(builder, number, tuple(members)))
    return groups


def _one_run(builder: GroupBuilder, number: int, trials: tuple[Trial, ...]) -> TrialGroup:
    longest = trials[-1]
    run, total = builder.run(longest.config, longest.key), builder.steps(longest.config)
    every = builder.steps_per_save(longest.config)
    rungs = builder.rungs(math.ceil(total / every))
    segments = [Segment(run, rung * every, rung) for rung in rungs]
    ends = tuple((run, builder.steps(trial.config)) for trial in trials)
    return TrialGroup(number, trials, (*segments, Segment(run, total)), ends)


def _trunk_and_branches(
    builder: GroupBuilder, number: int, trials: tuple[Trial, ...]
) -> TrialGroup:
    """A trunk at the constant rate, and for each trial a branch that decays."""
    constant = _with_train(trials[-1].config, lr_scheduler_type="constant")
    trunk = builder.run(constant, key_of(constant))
    segments: list[Segment] = []
    ends = []
    for trial in trials:
        run, total = builder.run(trial.config, trial.key), builder.steps(trial.config)
        start = total - num_steps(trial.config.train.decay_steps, total)
        if start > 0:
            segments.append(Segment(trunk, start, scored=False))
        epochs = trial.config.train.num_train_epochs
        decided = builder.settings.scheduler != "none" and epochs >= builder.settings.grace_period
        rung = epochs if decided and trial is not trials[-1] else None
        segments.append(Segment(run, total, rung, parent=(trunk, start) if start > 0 else None))
        ends.append((run, total))
    return TrialGroup(number, trials, tuple(segments), tuple(ends))


def _decays(config: Config) -> bool:
    return config.train.lr_scheduler_type == "warmup_stable_decay"


def _with_train(config: Config, **changes: Any) -> Config:
    train = TrainConfig.model_validate(config.train.model_dump() | changes)
    return config.model_copy(update={"train": train})
