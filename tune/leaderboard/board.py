"""The results of a sweep: each trial by its best checkpoint, with interval, tests and cost.

board = read_leaderboard(controller, num_threads=1)
board.entries[0].score.name == "step-000220"      the best (trial, checkpoint) first

Of equal scores the earlier epoch comes first, then the trial with the smaller number. Trials that
share a run may have the same best checkpoint; it counts for the shorter trial.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from datasets_src.scoring.paired import Comparison, compare_rows
from datasets_src.types import Score
from trainers.config.schema import Config
from trainers.run.scores import BASELINES, best_of, read_scores
from trainers.storage.json_files import read_jsonl
from tune.config import Sweep, is_nested
from tune.strategy.pbt import STEP_RULES
from tune.trials.controller import SweepController
from tune.trials.segments import Run, TrialGroup
from tune.trials.trials import Trial

# A busy hardware thread of a Xeon 8272CL: 195 W over 52 threads. Serves to compare trials.
WATTS_PER_CORE = 3.75
Parents = Mapping[str, tuple[Run, int]]  # by run: the run and the step that it branches from


@dataclass(frozen=True)
class Entry:
    """One trial: its run up to its last step, the best checkpoint there, its cost.

    Attributes:
        trained_by: key of the run that trained the best checkpoint; another run's after a branch.
        curve: (epoch, metric) of each scored checkpoint.
        cpu_s: of the run up to the trial's end; trials that share a run each count the shared part.
    """

    trial: Trial
    run: Run
    state: str
    reason: str
    score: Score | None
    trained_by: str
    epoch: float
    curve: tuple[tuple[float, float], ...]
    cpu_s: float

    @property
    def value(self) -> float | None:
        """The metric of its best checkpoint."""
        return None if self.score is None else self.score.metrics[self.score.metric]

    @property
    def energy_wh(self) -> float:
        """Estimated from the CPU time."""
        return self.cpu_s * WATTS_PER_CORE / 3600

    @property
    def name(self) -> str:
        """Its name in tables and tests."""
        checkpoint = "" if self.score is None else f" {self.score.name}"
        return f"trial {self.trial.number}{checkpoint}"


@dataclass(frozen=True)
class Leaderboard:
    """All entries, the best first; `tests` compare the best with others, by their names."""

    sweep: Sweep
    directory: Path
    entries: tuple[Entry, ...]
    baselines: tuple[Score, ...]
    tests: dict[str, Comparison]
    cpu_s: float
    wall_s: float
    num_threads: int

    @property
    def names(self) -> list[str]:
        """The fields whose values are shown: those searched, and those that `pbt` changed."""
        rules = any(STEP_RULES in entry.trial.values for entry in self.entries)
        return [*self.sweep.space.names, *([STEP_RULES] if rules else [])]

    @property
    def best(self) -> Entry | None:
        """The winner; None before any checkpoint is scored."""
        return self.entries[0] if self.entries and self.entries[0].score else None


def read_leaderboard(controller: SweepController, *, num_threads: int) -> Leaderboard:
    """The leaderboard of a sweep as it is now."""
    entries = sorted(_entries(controller, num_threads), key=_rank)
    baselines = [s for s in read_scores(controller.directory) if s.name in BASELINES]
    costs = controller.ended.values()
    return Leaderboard(
        sweep=controller.sweep,
        directory=controller.directory,
        entries=tuple(entries),
        baselines=tuple(baselines),
        tests=_tests(controller.directory, entries, baselines),
        cpu_s=sum(row["cpu_s"] for row in costs),
        wall_s=sum(row["wall_s"] for row in costs),
        num_threads=num_threads,
    )


def _rank(entry: Entry) -> tuple[float, float, int]:
    merit = -math.inf if entry.score is None else entry.score.merit
    return (-merit, entry.epoch, entry.trial.number)


def _entries(controller: SweepController, num_threads: int) -> Iterator[Entry]:
    segments = [segment for group in controller.groups for segment in group.segments]
    parents = {each.run.key: each.parent for each in segments if each.parent}
    for group in controller.groups:
        for trial, (run, last) in zip(group.trials, group.ends, strict=True):
            state, reason = _state(controller, group, run, last)
            rows = read_jsonl(run.directory / "metrics.jsonl")
            epochs = {row["step"]: row["epoch"] for row in rows if row["step"] <= last}
            scores = [s for s in read_scores(run.directory) if s.step and s.step <= last]
            best = best_of(scores)
            step = best.step if best and best.step else 0
            yield Entry(
                trial=trial,
                run=run,
                state=state,
                reason=reason,
                score=best,
                trained_by=_trained_by(parents, run.key, step),
                epoch=epochs[step] if step else 0.0,
                curve=tuple((epochs[s.step], s.metrics[s.metric]) for s in scores if s.step),
                cpu_s=_cpu_s(controller, run, last, num_threads, parents),
            )


def _trained_by(parents: Parents, key: str, step: int) -> str:
    """The key of the run that trained the checkpoint of `step` in the run `key`."""
    while key in parents and step <= parents[key][1]:
        key = parents[key][0].key
    return key


def _cpu_s(
    controller: SweepController, run: Run, last: int, num_threads: int, parents: Parents
) -> float:
    """CPU time of a run up to step `last`: as measured, prorated by the time of steps and scores.

    What the run took over from its parent is not counted.
    """
    rows = read_jsonl(run.directory / "metrics.jsonl")
    times = [(row["step"], row["step_time_s"]) for row in rows]
    times += [(s.step or 0, s.seconds) for s in read_scores(run.directory)]
    if run.key in parents:
        times = [(step, seconds) for step, seconds in times if step > parents[run.key][1]]
    whole, part = (sum(s for step, s in times if step <= end) for end in (float("inf"), last))
    if is_nested(run.config):  # its workers are other processes, busy throughout
        return round(part * run.config.scaling.max_workers * num_threads, 1)
    measured = sum(row["cpu_s"] for (key, _), row in controller.ended.items() if key == run.key)
    return round(measured * part / whole, 1) if whole else 0.0


def _state(controller: SweepController, group: TrialGroup, run: Run, last: int) -> tuple[str, str]:
    """State of a trial, with the reason if it was stopped or failed."""
    if any(key == run.key and until >= last for key, until in controller.ended):
        return "finished", ""
    status = controller.status(group)
    if status.state == "stopped":
        scheduler = controller.sweep.settings.scheduler
        return "stopped", f"by {scheduler} after save {status.rung}"
    if status.state == "failed":
        keys = [segment.run.key for segment in group.segments]
        return "failed", next(controller.failed[key] for key in keys if key in controller.failed)
    return status.state, ""


def _tests(directory: Path, entries: list[Entry], baselines: list[Score]) -> dict[str, Comparison]:
    """The winner against the next different checkpoint and the baselines, on the same rows."""
    scored = [entry for entry in entries if entry.score is not None]
    if not scored:
        return {}
    best = scored[0]
    second = next((e for e in scored if _checkpoint(e) != _checkpoint(best)), None)
    others = {} if second is None else {second.name: _replies(second)}
    others |= {s.name: list(read_jsonl(directory / s.predictions)) for s in baselines}
    replies = _replies(best)
    assert best.score is not None
    metric, greater = best.score.metric, best.score.greater_is_better
    found = {
        name: compare_rows(replies, rows, metric=metric, greater_is_better=greater)
        for name, rows in others.items()
    }
    return {name: comparison for name, comparison in found.items() if comparison is not None}


def _checkpoint(entry: Entry) -> tuple[str, str]:
    return (entry.trained_by, entry.score.name if entry.score else "")


def _replies(entry: Entry) -> list[dict[str, Any]]:
    assert entry.score is not None
    return list(read_jsonl(entry.run.directory / entry.score.predictions))


def best_config(board: Leaderboard) -> Config:
    """The config with which `jobs.finetune` trains the winner to the same bytes."""
    assert board.best is not None
    config = board.best.trial.config
    scaling = config.scaling.model_copy(update={"cpus_per_worker": board.num_threads})
    name, scoring = f"{config.run_name}-best", board.sweep.scoring
    return config.model_copy(update={"run_name": name, "scaling": scaling, "eval": scoring})
