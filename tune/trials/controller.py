"""Which segment runs next, and what its end means: a sweep's state, kept in an append-only ledger.

runs/my_sweep/ledger.jsonl      ("line" is the number of a trial group, "why" a reason)
    {"event": "trial", "number": 3, "key": "3f2a…", "line": 1, "values": {…}}
    {"event": "began", "run": "3f2a…", "until": 55, "attempt": "a1b2c3"}
    {"event": "ended", "run": "3f2a…", "until": 55, "score": 0.61, "cpu_s": 31.2, "wall_s": 33.0}
    {"event": "judged", "line": 1, "rung": 1, "goes_on": true}
    {"event": "failed", "run": "3f2a…", "why": "…", "final": true}

A segment that has ended is never started again, however often the driver is killed and restarted;
one that only began resumes from its run's checkpoint. Needs no Ray.
"""

import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from trainers.process.machine import utc_now
from trainers.run.base_fingerprint import Files
from trainers.run.scores import find_score
from trainers.storage.checkpoints import step_name
from trainers.storage.json_files import append_jsonl, read_jsonl, write_jsonl
from tune.config import Sweep
from tune.strategy.pbt import child_values
from tune.strategy.schedulers import RungScores, Scheduler
from tune.strategy.searchers import next_draws
from tune.trials.segments import GroupBuilder, Segment, TrialGroup, group_trials
from tune.trials.trials import Trials

LEDGER = "ledger.jsonl"
BASELINES = "baselines"
State = Literal["ready", "running", "waiting", "finished", "stopped", "failed"]
ENDED: tuple[State, ...] = ("finished", "stopped", "failed")


@dataclass(frozen=True)
class GroupStatus:
    """`segment`: index of the next or running segment; `rung`: where it was stopped or waits."""

    state: State
    segment: int | None = None
    rung: int | None = None


@dataclass(frozen=True)
class Task:
    """A unit of work: a segment of a group, or (both None) scoring the baselines."""

    group: TrialGroup | None
    segment: Segment | None
    attempt: str

    @property
    def name(self) -> str:
        """The run's key."""
        return BASELINES if self.segment is None else self.segment.run.key


@dataclass(frozen=True)
class SweepContext:
    """What all segments have in common; `base` is the fingerprint of the base's files."""

    prepared_dir: Path
    data_hash: str
    base: Files
    num_threads: int
    num_trials: int


@dataclass
class SweepController:
    """Holds what has happened and chooses the next task; one instance writes the ledger."""

    sweep: Sweep
    directory: Path
    num_rows: int
    trials: Trials
    groups: list[TrialGroup] = field(default_factory=list)
    running: dict[str, Task] = field(default_factory=dict)
    ended: dict[tuple[str, int], dict[str, Any]] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    refit: list[TrialGroup] = field(default_factory=list)  # trained after all groups have ended

    def __post_init__(self) -> None:
        path = self.directory / LEDGER
        rows = list(read_jsonl(path))
        write_jsonl(path, rows)  # drops the half-written last row of a killed driver
        for row in rows:
            if row["event"] == "ended":
                self.ended[row["run"], row["until"]] = row
            elif row["event"] == "failed" and row["final"]:
                self.failed[row["run"]] = row["why"]
        self._cached: tuple[tuple[int, int, int], Scheduler] | None = None
        self._recorded = {self._identity(row) for row in rows}
        self._rungs_with_children: set[int] = set()
        self._add_draws()
        self._add_children()

    def next_task(self) -> Task | None:
        """The next task, in the order of the groups; None while all others wait or run."""
        if self._needs_baselines() and BASELINES not in self.running:
            return Task(None, None, uuid.uuid4().hex[:6])
        for group in self._candidates():
            status = self.status(group)
            if status.state == "ready" and status.segment is not None:
                return Task(group, group.segments[status.segment], uuid.uuid4().hex[:6])
        return None

    @property
    def done(self) -> bool:
        """Whether nothing runs and nothing is left to run."""
        return not self.running and self.next_task() is None

    def begin(self, task: Task) -> None:
        """Record that a task was handed out."""
        self.running[task.name] = task
        until = 0 if task.segment is None else task.segment.until
        self._append({"event": "began", "run": task.name, "until": until, "attempt": task.attempt})

    def end(self, task: Task, result: dict[str, Any]) -> float | None:
        """Record that a task is complete; its score, if it has one."""
        del self.running[task.name]
        score, until = None, 0
        if task.segment is not None:
            until, score = task.segment.until, self._score(task.segment)
        cost = {key: result[key] for key in ("cpu_s", "wall_s")}
        row = {"event": "ended", "run": task.name, "until": until, "score": score, **cost}
        self.ended[task.name, until] = row
        self._append(row)
        return score

    def interrupt(self, task: Task) -> None:
        """The task was left before its end and will be handed out again."""
        del self.running[task.name]

    def fail(self, task: Task, reason: str, *, final: bool) -> None:
        """Record that a task failed; a `final` failure is not retried when the sweep is restarted.

        Under `pbt` all are final: a generation that was ranked without a group stays as it is.
        """
        final = final or self.sweep.settings.scheduler == "pbt"
        del self.running[task.name]
        self.failed[task.name] = reason
        self._append({"event": "failed", "run": task.name, "why": reason, "final": final})

    def status(self, group: TrialGroup) -> GroupStatus:
        """The state of a group now."""
        failed = self.failed.keys()
        for index, segment in enumerate(group.segments):
            if not self.is_done(segment):
                if failed & {each.run.key for each in group.segments[: index + 1]}:
                    return GroupStatus("failed", index)
                running = segment.run.key in self.running
                return GroupStatus("running" if running else "ready", index)
            if segment.rung is not None:
                continues = self._scheduler().continues(group.number, segment.rung)
                if continues is None:
                    return GroupStatus("waiting", None, segment.rung)
                if not continues:
                    return GroupStatus("stopped", None, segment.rung)
        return GroupStatus("finished")

    def record_decisions(self) -> list[tuple[TrialGroup, int, bool]]:
        """Record the scheduler's new decisions, which follow from the scores alone."""
        scheduler, found = self._scheduler(), []
        for group in self.groups:
            for segment in group.segments:
                if segment.rung is None or not self.is_done(segment):
                    continue
                continues = scheduler.continues(group.number, segment.rung)
                row = {"event": "judged", "line": group.number, "rung": segment.rung}
                if continues is not None and self._identity(row) not in self._recorded:
                    self._append(row | {"goes_on": continues})
                    found.append((group, segment.rung, continues))
        return found

    def outcomes(self) -> list[float | None]:
        """The best merit of each draw; call it when all their trials have ended."""
        best: dict[str, float] = {}
        for group in self.groups:
            for trial, (run, last) in zip(group.trials, group.ends, strict=True):
                scores = [
                    self._merit(row["score"])
                    for (key, until), row in self.ended.items()
                    if key == run.key and until <= last and row["score"] is not None
                ]
                if scores:
                    best[trial.key] = max(scores)
        return [
            max((best[key] for key in keys if key in best), default=None)
            for _, keys in self.trials.draws
        ]

    def is_done(self, segment: Segment) -> bool:
        """Whether a segment has ended."""
        return (segment.run.key, segment.until) in self.ended

    def _candidates(self) -> Iterator[TrialGroup]:
        """All groups; once all of them have ended, those of the next draws as well."""
        self._add_children()
        yield from self.groups
        if all(self.status(group).state in ENDED for group in self.groups):
            yield from self._add_draws() or self.refit

    def _add_draws(self) -> list[TrialGroup]:
        """The groups of the next draws, if there are any."""
        draws = next_draws(self.sweep, self.outcomes())
        groups = group_trials(self.trials.add(draws), self._builder, first=len(self.groups))
        self._add(groups)
        return groups

    def _add_children(self) -> None:
        """Under `pbt`, the children of each generation that is complete."""
        if self.sweep.settings.scheduler != "pbt":
            return
        rungs = {rung for group in self.groups for rung in group.rungs}
        for rung in sorted(rungs - self._rungs_with_children):
            parents = self._scheduler().parents(rung)
            if parents is None:
                return
            self._rungs_with_children.add(rung)
            for rank, parent in enumerate(parents):
                run, step = next(
                    (each.run, each.until)
                    for each in self.groups[parent].segments
                    if each.rung == rung
                )
                seed = f"{self.sweep.settings.search_seed}/{rung}/{rank}"
                trial = self.trials.child(child_values(run.config, step, seed=seed))
                child = self._builder.child(trial, len(self.groups), parent=run, rung=rung)
                self._add([child])

    @property
    def _builder(self) -> GroupBuilder:
        sweep = self.sweep
        return GroupBuilder(sweep.settings, sweep.scoring, self.num_rows, self.directory)

    def _add(self, groups: list[TrialGroup]) -> None:
        """Add new groups, and record the trials that the ledger does not have."""
        self.groups += groups
        for group in groups:
            for trial in group.trials:
                row = {"event": "trial", "number": trial.number, "key": trial.key}
                row |= {"line": group.number, "values": trial.values}
                if self._identity(row) not in self._recorded:
                    self._append(row)

    def _scheduler(self) -> Scheduler:
        """The scheduler on the scores of now; it is kept until one of its inputs changes."""
        version = (len(self.ended), len(self.failed), len(self.groups))
        if self._cached is None or self._cached[0] != version:
            self._cached = (version, Scheduler(self.sweep.settings, self._rung_scores()))
        return self._cached[1]

    def _rung_scores(self) -> RungScores:
        scores = {
            (group.number, each.rung): self._merit(self.ended[each.run.key, each.until]["score"])
            for group in self.groups
            for each in group.segments
            if each.rung is not None and self.is_done(each)
        }
        failed = {
            group.number
            for group in self.groups
            if self.failed.keys() & {each.run.key for each in group.segments}
        }
        return RungScores([group.rungs for group in self.groups], scores, frozenset(failed))

    def _needs_baselines(self) -> bool:
        enabled = self.sweep.base.eval.eval_on_start
        return enabled and (BASELINES, 0) not in self.ended and BASELINES not in self.failed

    def _score(self, segment: Segment) -> float | None:
        if not segment.scored:
            return None
        found = find_score(segment.run.directory, step_name(segment.until))
        assert found is not None, (segment.run.key, segment.until)
        return found.metrics[self.sweep.metric]

    def _merit(self, score: float) -> float:
        """The score with a sign such that greater is better."""
        return score if self.sweep.scoring.chooses_greatest else -score

    def _append(self, row: dict[str, Any]) -> None:
        self._recorded.add(self._identity(row))
        append_jsonl(self.directory / LEDGER, row | {"at": utc_now()})

    def _identity(self, row: dict[str, Any]) -> tuple[Any, ...]:
        return tuple(row.get(key) for key in ("event", "key", "line", "rung"))
