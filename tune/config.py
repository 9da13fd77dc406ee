"""A sweep's YAML: the config of a run, and under `sweep` what is searched and how.

sweep: {learning_rate: {min: 1e-4, max: 1e-2, log: true}, lora_r: [8, 16], num_samples: 8}

Keys of `sweep` that are not settings are config fields: leaf names are unique. No torch, no Ray.
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
    """The settings of a sweep; names of leaves are unique here too."""

    metric: str | None = Field(
        None, description="metric to choose by, of the task or eval_loss; default: the config's"
    )
    mode: Literal["max", "min"] | None = Field(
        None, description="whether more or less of it is better; default: min for eval_loss"
    )
    searcher: Literal["random", "grid", "optuna"] = Field(
        "random", description="how values are drawn; optuna learns from the trials before"
    )
    num_samples: int = Field(8, ge=1, description="draws; under `grid` all combinations are tried")
    search_seed: int = Field(42, ge=0, description="of the draws (`seed` is that of a run's data)")
    scheduler: Literal["asha", "median", "pbt", "none"] = Field(
        "asha", description="which trials are stopped early"
    )
    grace_period: int = Field(
        1, ge=1, description="saves that every trial gets to; under `pbt`, of each generation"
    )
    reduction_factor: int = Field(
        3,
        ge=2,
        description="under `asha`, the best one in so many goes on at each rung; under `pbt`, the "
        "worst one in so many gives way to a child of the best",
    )
    max_concurrent_trials: int | None = Field(
        None, ge=1, description="trials at a time; default: as many as cores and memory hold"
    )
    max_disk_bytes: int | None = Field(
        None, ge=1, description="of the sweep's directory; checkpoints are pruned by score"
    )
    refit: bool = Field(
        False, description="train the winner once more, on training and validation rows together"
    )

    @property
    def free(self) -> tuple[str, ...]:
        """What may change when a sweep goes on: it changes no score. More draws are another first
        generation."""
        always = ("max_concurrent_trials", "max_disk_bytes", "refit")
        return always if self.scheduler == "pbt" else (*always, "num_samples")

    @property
    def save_total_limit(self) -> int:
        """Newest checkpoints of a trial that stay; under `pbt` children begin with older ones."""
        return max(2, self.grace_period + 1) if self.scheduler == "pbt" else 2

    @property
    def checkpoints_at_work(self) -> int:
        """Checkpoints that a trial at work has at the most: these, its best, and the next one."""
        return self.save_total_limit + 2


LEARNING_RATE = "train.learning_rate"


@dataclass(frozen=True)
class Sweep:
    """`raw` is the config's mapping before validation, without `sweep`; `base` the config of it."""

    path: Path
    raw: dict[str, Any]
    base: Config
    settings: SweepConfig
    space: Space
    given: dict[str, Any]
    notes: tuple[str, ...]

    @property
    def metric(self) -> str:
        """The name of the metric that chooses."""
        name = self.settings.metric or self.base.eval.metric_for_best_model
        return checked_metric(self._task, name, key="sweep.metric", also=(EVAL_LOSS,))

    @property
    def _task(self) -> Task:
        return load_task(self.base.data.task)

    @property
    def scoring(self) -> EvalConfig:
        """How each trial is scored: as the config says, but by the sweep's metric and mode."""
        told, settings = self.base.eval, self.settings
        another = self.metric != (told.metric_for_best_model or self._task.METRIC)
        greater = None if another else told.greater_is_better
        if settings.mode is not None:
            greater = settings.mode == "max"
        changes = {"metric_for_best_model": self.metric, "greater_is_better": greater}
        return told.model_copy(update=changes)

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
        UserError: with one line for each fault.
    """
    raw = read_yaml(path)
    notes = rename_synonyms(raw)
    given = raw.pop("sweep", {})
    if not isinstance(given, dict):
        raise UserError(
            f"{path}: sweep: {given!r} is no section; write sweep: {{learning_rate: [1e-4, 1e-3]}}"
        )
    rest = []
    for key, text in override_pairs(overrides):
        name = key.replace("-", "_").removeprefix("sweep.")
        if key.startswith("sweep.") or _is_setting(name):
            given[name] = yaml.safe_load(text)
        else:
            rest.append((key, text))
    faults = override(raw, rest)
    named = {key: given[key] for key in given if key in SweepConfig.model_fields}
    settings, of_settings = _settings(named)
    fields = {k: v for k, v in given.items() if k not in named}
    space, of_space = parse_space(fields, settings=SweepConfig.model_fields)
    base, of_base = _base(raw, str(path))
    faults = [*faults, *of_base, *of_settings, *of_space]
    if faults or base is None or settings is None:
        raise UserError(*faults)
    sweep = Sweep(path, raw, base, settings, space, given, tuple(notes))
    _check_together(sweep)
    return sweep


def _is_setting(name: str) -> bool:
    """Whether a key of the command line is meant for `sweep`, also where it is mistyped."""
    settings = list(SweepConfig.model_fields)
    near = difflib.get_close_matches(name, settings, n=1, cutoff=0.8)
    return name in settings or (find_leaf(name) is None and bool(near))


def is_nested(config: Config) -> bool:
    """Whether a trial takes several processes, and so a run of Ray Train of its own."""
    scaling = config.scaling
    return scaling.num_workers != 1 or scaling.zero_stage > 0


def _settings(named: dict[str, Any]) -> tuple[SweepConfig | None, list[str]]:
    try:
        return SweepConfig.model_validate(named), []
    except ValidationError as error:
        names = SweepConfig.model_fields
        unknown = partial(unknown_in_sweep, settings=names)
        return None, explain(error, prefix="sweep.", unknown=unknown)


def _base(raw: dict[str, Any], where: str) -> tuple[Config | None, list[str]]:
    try:
        return validate(raw, where), []
    except UserError as error:
        return None, list(error.faults)


def _check_together(sweep: Sweep) -> None:
    """Refuse what single keys do not show."""
    base, settings = sweep.base, sweep.settings
    faults = []
    if sweep.metric == EVAL_LOSS and settings.mode == "max":
        faults.append(
            f"sweep.mode: max, but {EVAL_LOSS} is the better the lower it is; leave mode out"
        )
    if is_remote(base.output_dir):
        faults.append(
            f"output_dir: {base.output_dir} is no directory, where trials find each other's "
            "checkpoints; set output_dir to one that all machines see"
        )
    if base.eval.num_eval_workers:
        faults.append(
            f"eval.num_eval_workers: {base.eval.num_eval_workers}, but in a sweep others train "
            "while a trial answers; set num_eval_workers=0"
        )
    if settings.refit and is_nested(base):
        faults.append("sweep.refit: true, but it is for trials of one worker; set num_workers=1")
    if settings.scheduler == "pbt":
        faults += _against_generations(sweep)
    if settings.searcher == "grid" and (ranges := sweep.space.ranges()):
        faults.append(
            f"sweep.searcher: grid tries every value, and {', '.join(ranges)} is a range; list "
            "its values, or set searcher=random"
        )
    if faults:
        raise UserError(*faults)


def _against_generations(sweep: Sweep) -> list[str]:
    """Why there is no population: what changes in the middle of a run is its rate alone."""
    faults, train = [], sweep.base.train
    if others := [name for name in sweep.space.names if name != LEARNING_RATE]:
        faults.append(
            f"sweep.scheduler: pbt changes learning_rate in the middle of a run, and "
            f"{', '.join(others)} cannot change there; search learning_rate alone, or set "
            "scheduler=asha"
        )
    if train.lr_scheduler_type != "constant":
        faults.append(
            f"train.lr_scheduler_type: {train.lr_scheduler_type}, but under pbt the rate is "
            "constant from one generation to the next; set lr_scheduler_type=constant"
        )
    if sweep.settings.searcher == "optuna":
        faults.append(
            "sweep.searcher: optuna draws by outcomes, and under pbt only the first generation is "
            "drawn; set searcher=random"
        )
    return faults
