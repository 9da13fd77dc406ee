"""A sweep's YAML: the config of a run, with a `sweep` section for what is searched and how.

sweep: {learning_rate: {min: 1e-4, max: 1e-2, log: true}, lora_r: [8, 16], num_samples: 8}

Keys of `sweep` that are not settings are config fields, by their unique leaf names. No torch, no
Ray.
"""

import difflib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import Field, ValidationError

from datasets_src.config import Section
from datasets_src.config_errors import explain
from datasets_src.errors import UserError
from datasets_src.task import EVAL_LOSS, Task, checked_metric, load_task
from trainers.config.eval_section import EvalConfig
from trainers.config.load import (
    find_leaf,
    override,
    override_pairs,
    read_yaml,
    rename_synonyms,
    validate,
)
from trainers.config.schema import Config
from trainers.storage.object_store import is_remote
from tune.space import Space, parse_space, unknown_in_sweep


class SweepConfig(Section):
    """The settings of a sweep; none has the leaf name of a config field."""

    metric: str | None = Field(
        None,
        description="ranks checkpoints: metric of the task or eval_loss; default: the config's",
    )
    mode: Literal["max", "min"] | None = Field(
        None, description="whether greater or smaller values are better; default: min for eval_loss"
    )
    searcher: Literal["random", "grid", "optuna"] = Field(
        "random", description="how values are drawn; optuna (TPE) learns from earlier trials"
    )
    num_samples: int = Field(
        8, ge=1, description="number of draws; `grid` tries all combinations instead"
    )
    search_seed: int = Field(42, ge=0, description="random seed of the draws (`seed` is a run's)")
    scheduler: Literal["asha", "median", "pbt", "none"] = Field(
        "asha", description="early stopping of trials"
    )
    grace_period: int = Field(
        1,
        ge=1,
        description="saves before the first decision; under `pbt`, saves per generation",
    )
    reduction_factor: int = Field(
        3,
        ge=2,
        description="under `asha`, the best 1 of `reduction_factor` trials continue after each "
        "rung; under `pbt`, the worst 1 of `reduction_factor` are replaced by children of the best",
    )
    max_concurrent_trials: int | None = Field(
        None, ge=1, description="concurrent trials; default: what fits cores and memory"
    )
    max_disk_bytes: int | None = Field(
        None,
        ge=1,
        description="disk quota of the sweep directory; the worst checkpoints go first",
    )
    refit: bool = Field(
        False, description="train the winner once more, on training and validation rows together"
    )

    @property
    def changeable(self) -> tuple[str, ...]:
        """Settings that may change when a sweep is resumed, because they change no score.

        Under `pbt` more draws would be another first generation.
        """
        always = ("max_concurrent_trials", "max_disk_bytes", "refit")
        return always if self.scheduler == "pbt" else (*always, "num_samples")

    @property
    def save_total_limit(self) -> int:
        """Newest checkpoints kept per trial; under `pbt` children branch from older ones."""
        return max(2, self.grace_period + 1) if self.scheduler == "pbt" else 2

    @property
    def max_checkpoints(self) -> int:
        """Most checkpoints of a running trial: the newest, its best, and the one being written."""
        return self.save_total_limit + 2


LEARNING_RATE = "train.learning_rate"


@dataclass(frozen=True)
class Sweep:
    """A validated sweep file.

    Attributes:
        raw: the file's mapping before validation, without its `sweep` section.
        base: the config of `raw`.
        section: the `sweep` section before validation.
    """

    path: Path
    raw: dict[str, Any]
    base: Config
    settings: SweepConfig
    space: Space
    section: dict[str, Any]
    notes: tuple[str, ...]

    @property
    def metric(self) -> str:
        """The name of the metric that ranks checkpoints."""
        name = self.settings.metric or self.base.eval.metric_for_best_model
        return checked_metric(self._task, name, key="sweep.metric", also=(EVAL_LOSS,))

    @property
    def _task(self) -> Task:
        return load_task(self.base.data.task)

    @property
    def scoring(self) -> EvalConfig:
        """The `eval` section of each trial: the config's, with the sweep's metric and mode."""
        base, settings = self.base.eval, self.settings
        other_metric = self.metric != (base.metric_for_best_model or self._task.METRIC)
        greater = None if other_metric else base.greater_is_better
        if settings.mode is not None:
            greater = settings.mode == "max"
        changes = {"metric_for_best_model": self.metric, "greater_is_better": greater}
        return base.model_copy(update=changes)

    @property
    def without_export(self) -> Config:
        """The config whose storage a sweep needs: no trial is exported."""
        export = self.base.export.model_copy(update={"export_best": False})
        return self.base.model_copy(update={"export": export})

    @property
    def mode(self) -> str:
        """max or min"""
        return "max" if self.scoring.chooses_greatest else "min"


def load_sweep(path: Path, overrides: Sequence[str] = ()) -> Sweep:
    """The sweep of `path`; an override names a key of the config, a setting, or `sweep.<field>`.

    Raises:
        UserError: one line per fault.
    """
    raw = read_yaml(path)
    notes = rename_synonyms(raw)
    section = raw.pop("sweep", {})
    if not isinstance(section, dict):
        raise UserError(
            f"{path}: sweep: {section!r} is not a mapping; "
            "write sweep: {learning_rate: [1e-4, 1e-3]}"
        )
    rest = []
    for key, text in override_pairs(overrides):
        name = key.replace("-", "_").removeprefix("sweep.")
        if key.startswith("sweep.") or _is_setting(name):
            section[name] = yaml.safe_load(text)
        else:
            rest.append((key, text))
    faults = override(raw, rest)
    given = {key: section[key] for key in section if key in SweepConfig.model_fields}
    settings, settings_faults = _settings(given)
    fields = {key: value for key, value in section.items() if key not in given}
    space, space_faults = parse_space(fields, settings=SweepConfig.model_fields)
    base, base_faults = _base(raw, str(path))
    faults = [*faults, *base_faults, *settings_faults, *space_faults]
    if faults or base is None or settings is None:
        raise UserError(*faults)
    sweep = Sweep(path, raw, base, settings, space, section, tuple(notes))
    _check_together(sweep)
    return sweep


def _is_setting(name: str) -> bool:
    """Whether a key of the command line is a setting of `sweep`, possibly mistyped."""
    settings = list(SweepConfig.model_fields)
    near = difflib.get_close_matches(name, settings, n=1, cutoff=0.8)
    return name in settings or (find_leaf(name) is None and bool(near))


def is_nested(config: Config) -> bool:
    """Whether a trial needs several processes, and so a nested run of Ray Train."""
    scaling = config.scaling
    return scaling.num_workers != 1 or scaling.zero_stage > 0


def _settings(given: dict[str, Any]) -> tuple[SweepConfig | None, list[str]]:
    try:
        return SweepConfig.model_validate(given), []
    except ValidationError as error:
        names = SweepConfig.model_fields
        unknown = partial(unknown_in_sweep, settings=names)
        return None, explain(error, prefix="sweep.", unknown=unknown)


def _base(raw: dict[str, Any], source: str) -> tuple[Config | None, list[str]]:
    try:
        return validate(raw, source), []
    except UserError as error:
        return None, list(error.faults)


def _check_together(sweep: Sweep) -> None:
    """Refuse combinations of keys that are valid one by one."""
    base, settings = sweep.base, sweep.settings
    faults = []
    if sweep.metric == EVAL_LOSS and settings.mode == "max":
        faults.append(
            f"sweep.mode: max, but lower values of {EVAL_LOSS} are better; leave mode out"
        )
    if is_remote(base.output_dir):
        faults.append(
            f"output_dir: {base.output_dir} is an object store, but trials read each other's "
            "checkpoints; set output_dir to a directory that all machines share"
        )
    if base.eval.num_eval_workers:
        faults.append(
            f"eval.num_eval_workers: {base.eval.num_eval_workers}, but in a sweep other trials use "
            "the cores while one is scored; set num_eval_workers=0"
        )
    if settings.refit and is_nested(base):
        faults.append("sweep.refit: true, but refit supports one worker only; set num_workers=1")
    if settings.scheduler == "pbt":
        faults += _pbt_faults(sweep)
    if settings.searcher == "grid" and (ranges := sweep.space.ranges()):
        faults.append(
            f"sweep.searcher: grid, but {', '.join(ranges)} is a continuous range; list its "
            "values, or set searcher=random"
        )
    if faults:
        raise UserError(*faults)


def _pbt_faults(sweep: Sweep) -> list[str]:
    """What `pbt` does not support: it changes nothing but the learning rate during a run."""
    faults, train = [], sweep.base.train
    if others := [name for name in sweep.space.names if name != LEARNING_RATE]:
        faults.append(
            f"sweep.scheduler: pbt, but {', '.join(others)} cannot change during a run; search "
            "learning_rate alone, or set scheduler=asha"
        )
    if train.lr_scheduler_type != "constant":
        faults.append(
            f"train.lr_scheduler_type: {train.lr_scheduler_type}, but pbt needs a constant rate "
            "within each generation; set lr_scheduler_type=constant"
        )
    if sweep.settings.searcher == "optuna":
        faults.append(
            "sweep.searcher: optuna learns from outcomes, but pbt draws the first generation only; "
            "set searcher=random"
        )
    return faults
