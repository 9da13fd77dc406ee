"""From drawn values to trials: each an effective config, equal configs only once.

trials = Trials(sweep)
trials.add([{"method.lora_r": 8}])[0].config.method.lora_r == 8

Trials that differ only in `num_train_epochs` share training where the schedule allows it
(segments.py).
"""

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from datasets_src.errors import UserError
from trainers.config.load import set_key, validate
from trainers.config.schema import Config
from trainers.run.changes import settings_that_count
from tune.config import Sweep
from tune.space import Values

EPOCHS = "train.num_train_epochs"
LENGTH_INDEPENDENT = ("constant", "piecewise_constant", "warmup_stable_decay")
KEY_LENGTH = 10


@dataclass(frozen=True)
class Trial:
    """One effective config: what `jobs.finetune` would run, under the sweep's name."""

    number: int
    key: str
    values: Values
    config: Config


def key_of(config: Config) -> str:
    """A short hash of all settings that a run's result depends on; not of its name."""
    settings = settings_that_count(config.model_dump(mode="json"))
    del settings["run_name"]
    text = json.dumps(settings, sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()[:KEY_LENGTH]


def effective_config(sweep: Sweep, values: Values) -> Config:
    """The sweep's config with these values.

    Raises:
        UserError: one line per fault.
    """
    raw: dict[str, Any] = json.loads(json.dumps(sweep.raw))
    for name, value in values.items():
        set_key(raw, name, value)
    return validate(raw, "sweep")


@dataclass
class Trials:
    """All trials so far, and of each draw the keys of its trials."""

    sweep: Sweep
    by_key: dict[str, Trial] = field(default_factory=dict)
    draws: list[tuple[Values, list[str]]] = field(default_factory=list)

    def add(self, draws: Iterable[Values]) -> list[Trial]:
        """The new trials of these draws; equal configs are one trial.

        Raises:
            UserError: every fault of every draw.
        """
        num_before, faults = len(self.by_key), dict[str, None]()
        for values in draws:
            try:
                keys = [self._add(each) for each in self._with_all_epochs(values)]
            except UserError as error:
                faults |= dict.fromkeys(error.faults)
            else:
                self.draws.append((values, keys))
        if faults:
            raise UserError(*faults)
        return list(self.by_key.values())[num_before:]

    def child(self, values: Values) -> Trial:
        """The trial of values that were not drawn: a child under `pbt`."""
        return self.by_key[self._add(values)]

    def _add(self, values: Values) -> str:
        config = effective_config(self.sweep, values)
        key = key_of(config)
        # As validated: YAML 1.1 reads 3e-3, without a point, as a string.
        settings = settings_that_count(config.model_dump(mode="json"))
        values = {name: settings[name] for name in values}
        self.by_key.setdefault(key, Trial(len(self.by_key), key, values, config))
        return key

    def _with_all_epochs(self, values: Values) -> list[Values]:
        """The draw with each number of epochs, where these share training; else as drawn."""
        epochs = next((d for d in self.sweep.space.dimensions if d.names == (EPOCHS,)), None)
        if epochs is None or not shares_epochs(effective_config(self.sweep, values)):
            return [values]
        return [values | other for other in epochs.values()]


def check_range_limits(sweep: Sweep) -> None:
    """Refuse a distribution whose lower or upper limit the config rejects.

    Raises:
        UserError: one line per fault.
    """
    faults: dict[str, None] = {}
    first = sweep.space.random(0, 0)
    for values in (limit for dimension in sweep.space.dimensions for limit in dimension.limits()):
        try:
            effective_config(sweep, first | values)
        except UserError as error:
            faults |= dict.fromkeys(error.faults)
    if faults:
        raise UserError(*faults)


def shares_epochs(config: Config) -> bool:
    """Whether a longer run passes through the checkpoints of a shorter one."""
    return not why_not_shared(config)


def why_not_shared(config: Config) -> str:
    """Why runs of different length must be trained separately; "" where they need not."""
    train = config.train
    if train.lr_scheduler_type not in LENGTH_INDEPENDENT:
        return (
            f"lr_scheduler_type={train.lr_scheduler_type} depends on the length of the run; "
            "constant or warmup_stable_decay do not"
        )
    if 0 < train.warmup_steps < 1:
        return f"warmup_steps={train.warmup_steps} is a share of the run; give a number of steps"
    if config.checkpoint.save_strategy != "epoch":
        return "save_strategy=steps saves at other steps than epochs' ends; set save_strategy=epoch"
    return "max_steps cuts the run; leave it out" if train.max_steps > 0 else ""
