"""From drawn values to trials, and from trials to the runs that serve them.

A trial is a config. Trials that differ only in `num_train_epochs` make one line, which is trained
once and scored at the end of each, where the schedule lets it: under `constant` by one run, under
`warmup_stable_decay` by a run at the constant rate, from which each trial decays on its own. A
line is trained leg by leg; between legs it rests as a checkpoint.

    Line 0  trials 0 (2 epochs), 1 (4 epochs)   legs: run 3f2a until step 55, 110, 220
"""

import hashlib
import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from datasets_src.batching.plan import steps_per_epoch
from datasets_src.errors import UserError
from trainers.config.eval_section import EvalConfig
from trainers.config.load import set_key, validate
from trainers.config.schema import Config, ExportConfig, HubConfig, TrainConfig
from trainers.config.step_rules import num_steps
from trainers.run.state import settings_that_count
from tune.config import Sweep, SweepConfig
from tune.space import Values

EPOCHS = "train.num_train_epochs"
STABLE = ("constant", "piecewise_constant", "warmup_stable_decay")
KEY_LENGTH = 10


@dataclass(frozen=True)
class Trial:
    """One effective config: what `jobs.finetune` would run, under the sweep's name."""

    number: int
    key: str
    values: Values
    config: Config


@dataclass(frozen=True)
class Run:
    """A run directory of the sweep, trials/<key>; `config` is the one in it."""

    key: str
    config: Config

    @property
    def directory(self) -> Path:
        """Where it lies."""
        return Path(self.config.output_dir) / self.key


@dataclass(frozen=True)
class Leg:
    """Train `run` until this step. `start` is another run's checkpoint to begin with.

    `rung` is what the leg's last score is compared under (None: it is not); a leg that is not
    `scored` only makes a checkpoint for others. `rows` are other rows than the sweep's.
    """

    run: Run
    until: int
    rung: int | None = None
    scored: bool = True
    start: tuple[Run, int] | None = None
    rows: Path | None = None


@dataclass(frozen=True)
class Line:
    """Trials that share their training. `ends[i]`: run and last step of `trials[i]`."""

    number: int
    trials: tuple[Trial, ...]
    legs: tuple[Leg, ...]
    ends: tuple[tuple[Run, int], ...]

    @property
    def rungs(self) -> tuple[int, ...]:
        """Where it is decided whether it goes on."""
        return tuple(leg.rung for leg in self.legs if leg.rung is not None)


def key_of(config: Config) -> str:
    """A short hash of all that a run's result depends on; not of its name."""
    told = settings_that_count(config.model_dump(mode="json"))
    del told["run_name"]
    text = json.dumps(told, sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()[:KEY_LENGTH]


def effective_config(sweep: Sweep, values: Values) -> Config:
    """The sweep's config with these values.

    Raises:
        UserError: a line for each fault.
    """
    raw: dict[str, Any] = json.loads(json.dumps(sweep.raw))
    for name, value in values.items():
        set_key(raw, name, value)
    return validate(raw, "sweep")


@dataclass
class Trials:
    """All trials so far, and the keys of those that each draw asked for."""

    sweep: Sweep
    by_key: dict[str, Trial] = field(default_factory=dict)
    draws: list[tuple[Values, list[str]]] = field(default_factory=list)

    def add(self, draws: Iterable[Values]) -> list[Trial]:
        """The new trials of these draws; equal configs are one.

        Raises:
            UserError: every fault of every draw.
        """
        before, faults = len(self.by_key), dict[str, None]()
        for values in draws:
            try:
                keys = [self._add(tried) for tried in self._crossed(values)]
            except UserError as error:
                faults |= dict.fromkeys(error.faults)
            else:
                self.draws.append((values, keys))
        if faults:
            raise UserError(*faults)
        return list(self.by_key.values())[before:]

    def child(self, values: Values) -> Trial:
        """The trial of values that were not drawn."""
        return self.by_key[self._add(values)]

    def _add(self, values: Values) -> str:
        config = effective_config(self.sweep, values)
        key = key_of(config)
        # As the config has them: YAML reads 3e-3, without a point, as a text.
        told = settings_that_count(config.model_dump(mode="json"))
        values = {name: told[name] for name in values}
        self.by_key.setdefault(key, Trial(len(self.by_key), key, values, config))
        return key

    def _crossed(self, values: Values) -> list[Values]:
        """The draw; where epochs cost nothing they are not drawn: it is tried with each of them."""
        epochs = next((d for d in self.sweep.space.dimensions if d.names == (EPOCHS,)), None)
        if epochs is None or not shares_epochs(effective_config(self.sweep, values)):
            return [values]
        return [values | other for other in epochs.all()]


def check_ends(sweep: Sweep) -> None:
    """Refuse a distribution with an end that is no valid value.

    Raises:
        UserError: a line for each fault.
    """
    faults: dict[str, None] = {}
    first = sweep.space.random(0, 0)
    for values in (end for dimension in sweep.space.dimensions for end in dimension.ends()):
        try:
            effective_config(sweep, first | values)
        except UserError as error:
            faults |= dict.fromkeys(error.faults)
    if faults:
        raise UserError(*faults)


def shares_epochs(config: Config) -> bool:
    """Whether a longer run passes through the checkpoints of a shorter one."""
    return not why_apart(config)


def why_apart(config: Config) -> str:
    """Why runs of other lengths must be trained apart; "" where they need not."""
    train = config.train
    if train.lr_scheduler_type not in STABLE:
        return (
            f"lr_scheduler_type={train.lr_scheduler_type} depends on the length of the run; "
            "constant or warmup_stable_decay do not"
        )
    if 0 < train.warmup_steps < 1:
        return f"warmup_steps={train.warmup_steps} is a share of the run; give a number of steps"
    if config.checkpoint.save_strategy != "epoch":
        return "save_strategy=steps saves at other steps than epochs' ends; set save_strategy=epoch"
    return "max_steps cuts the run; leave it out" if train.max_steps > 0 else ""


def make_lines(trials: Sequence[Trial], maker: "LineMaker", *, first: int = 0) -> list[Line]:
    """Lines of trials that were drawn together, numbered from `first`."""
    groups: dict[str, list[Trial]] = {}
    for trial in trials:
        key = trial.key
        if shares_epochs(trial.config):
            key = key_of(_with_train(trial.config, num_train_epochs=1))
        groups.setdefault(key, []).append(trial)
    lines = []
    for number, group in enumerate(groups.values(), start=first):
        group.sort(key=lambda trial: trial.config.train.num_train_epochs)
        make = _branches if _decays(group[-1].config) and len(group) > 1 else _one_run
        lines.append(make(maker, number, tuple(group)))
    return lines


@dataclass(frozen=True)
class LineMaker:
    """What the legs of a line depend on besides its trials; `num_rows` are those of training."""

    settings: SweepConfig
    scoring: EvalConfig
    num_rows: int
    directory: Path

    def run(self, config: Config, key: str) -> Run:
        """The run of a config in the sweep's directory: scored by the sweep's metric, its base by
        the sweep alone, neither exported nor pushed."""
        kept = self.settings.save_total_limit
        changes: dict[str, Any] = {
            "run_name": key,
            "output_dir": str(self.directory / "trials"),
            "eval": self.scoring.model_copy(update={"eval_on_start": False}),
            "checkpoint": config.checkpoint.model_copy(update={"save_total_limit": kept}),
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
        """Numbers of saves after which a line of so many is judged."""
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

    def child(self, trial: Trial, number: int, *, parent: Run, rung: int) -> Line:
        """A line that goes on from `parent`'s checkpoint at `rung`."""
        whole = _one_run(self, number, (trial,))
        start = (parent, rung * self.steps_per_save(trial.config))
        first, *rest = (leg for leg in whole.legs if leg.until > start[1])
        return replace(whole, legs=(replace(first, start=start), *rest))


def _one_run(maker: LineMaker, number: int, trials: tuple[Trial, ...]) -> Line:
    longest = trials[-1]
    run, total = maker.run(longest.config, longest.key), maker.steps(longest.config)
    every = maker.steps_per_save(longest.config)
    judged = maker.rungs(math.ceil(total / every))
    legs = [Leg(run, rung * every, rung) for rung in judged]
    ends = tuple((run, maker.steps(trial.config)) for trial in trials)
    return Line(number, trials, (*legs, Leg(run, total)), ends)


def _branches(maker: LineMaker, number: int, trials: tuple[Trial, ...]) -> Line:
    """A trunk at the constant rate, and from it a decay for each trial."""
    stable = _with_train(trials[-1].config, lr_scheduler_type="constant")
    trunk = maker.run(stable, key_of(stable))
    legs: list[Leg] = []
    ends = []
    for trial in trials:
        run, total = maker.run(trial.config, trial.key), maker.steps(trial.config)
        start = total - num_steps(trial.config.train.decay_steps, total)
        if start > 0:
            legs.append(Leg(trunk, start, scored=False))
        epochs = trial.config.train.num_train_epochs
        judged = maker.settings.scheduler != "none" and epochs >= maker.settings.grace_period
        last = trial is trials[-1]
        rung = epochs if judged and not last else None
        legs.append(Leg(run, total, rung, start=(trunk, start) if start > 0 else None))
        ends.append((run, total))
    return Line(number, trials, tuple(legs), tuple(ends))


def _decays(config: Config) -> bool:
    return config.train.lr_scheduler_type == "warmup_stable_decay"


def _with_train(config: Config, **changes: Any) -> Config:
    train = TrainConfig.model_validate(config.train.model_dump() | changes)
    return config.model_copy(update={"train": train})
