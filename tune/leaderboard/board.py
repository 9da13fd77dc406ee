"""What a sweep has found: each trial by its best checkpoint, how sure, at what cost.

board = read_board(director, num_threads=1)
board.entries[0].score.name == "step-000220"      the best (trial, checkpoint) first

Of equal scores the earlier epoch comes first, then the trial with the smaller number. Trials that
share a run may have the same best checkpoint; it is the shorter one's.
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
from tune.strategy.generations import STEP_RULES
from tune.trials.director import Director
from tune.trials.trials import Line, Run, Trial

# A busy hardware thread of a Xeon 8272CL: 195 W over 52 of them. A figure to compare trials by.
WATTS_PER_CORE = 3.75
Starts = Mapping[str, tuple[Run, int]]  # by run: whose checkpoint it began with


@dataclass(frozen=True)
class Entry:
    """One trial: its run up to its last step, the best checkpoint there, its training so far.

    `trained_by` is the run that trained that checkpoint, if another did. `cpu_s` are its run's up
    to its end; where trials share a run, they are in each of them.
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
        """Its best checkpoint's metric."""
        return None if self.score is None else self.score.metrics[self.score.metric]

    @property
    def energy_wh(self) -> float:
        """Of its CPU time, estimated."""
        return self.cpu_s * WATTS_PER_CORE / 3600

    @property
    def name(self) -> str:
        """What tables and tests call it."""
        checkpoint = "" if self.score is None else f" {self.score.name}"
        return f"trial {self.trial.number}{checkpoint}"


@dataclass(frozen=True)
class Board:
    """All entries, the best first; `tests` compare the best with the rest, by name."""

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
        """The fields whose values are shown: those that are searched, or changed on the way."""
        rules = any(STEP_RULES in entry.trial.values for entry in self.entries)
        return [*self.sweep.space.names, *([STEP_RULES] if rules else [])]

    @property
    def best(self) -> Entry | None:
        """The winner; None before anything is scored."""
        return self.entries[0] if self.entries and self.entries[0].score else None


def read_board(director: Director, *, num_threads: int) -> Board:
    """The board of a sweep as it stands."""
    entries = sorted(_entries(director, num_threads), key=_rank)
    baselines = [s for s in read_scores(director.directory) if s.name in BASELINES]
    costs = director.ended.values()
    return Board(
        sweep=director.sweep,
        directory=director.directory,
        entries=tuple(entries),
        baselines=tuple(baselines),
        tests=_tests(director.directory, entries, baselines),
        cpu_s=sum(row["cpu_s"] for row in costs),
        wall_s=sum(row["wall_s"] for row in costs),
        num_threads=num_threads,
    )


def _rank(entry: Entry) -> tuple[float, float, int]:
    merit = -math.inf if entry.score is None else entry.score.merit
    return (-merit, entry.epoch, entry.trial.number)


def _entries(director: Director, num_threads: int) -> Iterator[Entry]:
    starts = {leg.run.key: leg.start for line in director.lines for leg in line.legs if leg.start}
    for line in director.lines:
        for trial, (run, last) in zip(line.trials, line.ends, strict=True):
            state, reason = _state(director, line, run, last)
            done = [
                row for row in read_jsonl(run.directory / "metrics.jsonl") if row["step"] <= last
            ]
            scores = [s for s in read_scores(run.directory) if s.step and s.step <= last]
            epochs = {row["step"]: row["epoch"] for row in done}
            best = best_of(scores)
            yield Entry(
                trial=trial,
                run=run,
                state=state,
                reason=reason,
                score=best,
                trained_by=_trained_by(starts, run.key, best.step if best and best.step else 0),
                epoch=epochs[best.step] if best and best.step else 0.0,
                curve=tuple((epochs[s.step], s.metrics[s.metric]) for s in scores if s.step),
                cpu_s=_cpu_s(director, run, last, num_threads, starts),
            )


def _trained_by(starts: Starts, key: str, step: int) -> str:
    """The key of the run that trained a checkpoint of the run `key`."""
    while key in starts and step <= starts[key][1]:
        key = starts[key][0].key
    return key


def _cpu_s(director: Director, run: Run, last: int, num_threads: int, starts: Starts) -> float:
    """CPU time of a run up to a step: measured, and shared out by the time of steps and scores.

    What was done before the run began with another's checkpoint is not its own.
    """
    rows = read_jsonl(run.directory / "metrics.jsonl")
    times = [(row["step"], row["step_time_s"]) for row in rows]
    times += [(s.step or 0, s.seconds) for s in read_scores(run.directory)]
    if run.key in starts:
        times = [(step, seconds) for step, seconds in times if step > starts[run.key][1]]
    whole, part = (sum(s for step, s in times if step <= end) for end in (float("inf"), last))
    if is_nested(run.config):  # its workers are other processes, busy all the while
        return round(part * run.config.scaling.max_workers * num_threads, 1)
    measured = sum(row["cpu_s"] for (key, _), row in director.ended.items() if key == run.key)
    return round(measured * part / whole, 1) if whole else 0.0


def _state(director: Director, line: Line, run: Run, last: int) -> tuple[str, str]:
    """State of a trial, and its reason where it has not come to its end."""
    if any(key == run.key and until >= last for key, until in director.ended):
        return "finished", ""
    standing = director.standing(line)
    if standing.state == "stopped":
        scheduler = director.sweep.settings.scheduler
        return "stopped", f"by {scheduler} after save {standing.rung}"
    if standing.state == "failed":
        whys = [director.failed[leg.run.key] for leg in line.legs if leg.run.key in director.failed]
        return "failed", whys[0]
    return standing.state, ""


def _tests(directory: Path, entries: list[Entry], baselines: list[Score]) -> dict[str, Comparison]:
    """The winner against the next other checkpoint and against the baselines, on the same rows."""
    scored = [entry for entry in entries if entry.score is not None]
    if not scored:
        return {}
    best = scored[0]
    second = next((e for e in scored if _checkpoint(e) != _checkpoint(best)), None)
    rivals = {} if second is None else {second.name: _replies(second)}
    rivals |= {s.name: list(read_jsonl(directory / s.predictions)) for s in baselines}
    mine = _replies(best)
    assert best.score is not None
    metric, greater = best.score.metric, best.score.greater_is_better
    found = {
        name: compare_rows(mine, rows, metric=metric, greater_is_better=greater)
        for name, rows in rivals.items()
    }
    return {name: comparison for name, comparison in found.items() if comparison is not None}


def _checkpoint(entry: Entry) -> tuple[str, str]:
    return (entry.trained_by, entry.score.name if entry.score else "")


def _replies(entry: Entry) -> list[dict[str, Any]]:
    assert entry.score is not None
    return list(read_jsonl(entry.run.directory / entry.score.predictions))


def best_config(board: Board) -> Config:
    """The winner as `jobs.finetune` runs it, to the same bytes: same threads, same metric."""
    assert board.best is not None
    config = board.best.trial.config
    scaling = config.scaling.model_copy(update={"cpus_per_worker": board.num_threads})
    name, scoring = f"{config.run_name}-best", board.sweep.scoring
    return config.model_copy(update={"run_name": name, "scaling": scaling, "eval": scoring})
