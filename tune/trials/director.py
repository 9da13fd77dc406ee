"""Which leg runs next, and what its end means: the sweep's state, kept in an append-only ledger.

runs/my_sweep/ledger.jsonl
    {"event": "trial", "number": 3, "key": "3f2a…", "line": 1, "values": {…}}
    {"event": "began", "run": "3f2a…", "until": 55, "attempt": "a1b2c3"}
    {"event": "ended", "run": "3f2a…", "until": 55, "score": 0.61, "cpu_s": 31.2, "wall_s": 33.0}
    {"event": "judged", "line": 1, "rung": 1, "goes_on": true}
    {"event": "failed", "run": "3f2a…", "why": "…", "final": true}

A leg that has ended is never begun again, whatever is killed and started anew; one that only began
goes on from its run's checkpoint. Needs no Ray.
"""

import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from trainers.run.base_fingerprint import Files
from trainers.run.scores import find_score
from trainers.storage.checkpoints import step_name
from trainers.storage.json_files import append_jsonl, read_jsonl, write_jsonl
from tune.config import Sweep
from tune.strategy.generations import child_values
from tune.strategy.schedulers import Judge, Table
from tune.strategy.searchers import next_draws
from tune.trials.trials import Leg, Line, LineMaker, Trials, make_lines

LEDGER = "ledger.jsonl"
BASELINES = "baselines"
State = Literal["ready", "running", "waiting", "finished", "stopped", "failed"]


@dataclass(frozen=True)
class LineStatus:
    """How a line stands: `leg` is its next one, `rung` where it was stopped or waits."""

    state: State
    leg: int | None = None
    rung: int | None = None


@dataclass(frozen=True)
class Task:
    """What is to be done next: a leg of a line, or (None) the scores beside the trials."""

    line: Line | None
    leg: Leg | None
    attempt: str

    @property
    def name(self) -> str:
        """The run's key."""
        return BASELINES if self.leg is None else self.leg.run.key


@dataclass(frozen=True)
class Work:
    """What every leg is told besides itself."""

    prepared_dir: Path
    data_hash: str
    base: Files
    num_threads: int
    num_trials: int


@dataclass
class Director:
    """Holds what has happened and says what comes next; one instance writes the ledger."""

    sweep: Sweep
    directory: Path
    num_rows: int
    trials: Trials
    lines: list[Line] = field(default_factory=list)
    running: dict[str, Task] = field(default_factory=dict)
    ended: dict[tuple[str, int], dict[str, Any]] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    after: list[Line] = field(default_factory=list)  # what is trained when all lines have ended

    def __post_init__(self) -> None:
        path = self.directory / LEDGER
        rows = list(read_jsonl(path))
        write_jsonl(path, rows)  # without a line that a killed driver left half
        for row in rows:
            if row["event"] == "ended":
                self.ended[row["run"], row["until"]] = row
            elif row["event"] == "failed" and row["final"]:
                self.failed[row["run"]] = row["why"]
        self._judged: tuple[tuple[int, int, int], Judge] | None = None
        self._noted = {self._identity(row) for row in rows}
        self._bred: set[int] = set()  # rungs whose children are among the lines
        self._draw()
        self._breed()

    def next_task(self) -> Task | None:
        """What may run now, the first line first; None while all others wait or run."""
        if self._wants_baselines() and BASELINES not in self.running:
            return Task(None, None, uuid.uuid4().hex[:6])
        for line in self._lines_with_more():
            standing = self.standing(line)
            if standing.state == "ready" and standing.leg is not None:
                return Task(line, line.legs[standing.leg], uuid.uuid4().hex[:6])
        return None

    @property
    def done(self) -> bool:
        """Whether nothing runs and nothing is to be run any more."""
        return not self.running and self.next_task() is None

    def begin(self, task: Task) -> None:
        """Note that a task is given away."""
        self.running[task.name] = task
        until = 0 if task.leg is None else task.leg.until
        self._note({"event": "began", "run": task.name, "until": until, "attempt": task.attempt})

    def end(self, task: Task, ending: dict[str, Any]) -> float | None:
        """Note that a task was done; its score, where it makes one."""
        del self.running[task.name]
        score, until = None, 0
        if task.leg is not None:
            until, score = task.leg.until, self._score(task.leg)
        cost = {key: ending[key] for key in ("cpu_s", "wall_s")}
        row = {"event": "ended", "run": task.name, "until": until, "score": score, **cost}
        self.ended[task.name, until] = row
        self._note(row)
        return score

    def interrupt(self, task: Task) -> None:
        """A task left before its end: it is to be begun again."""
        del self.running[task.name]

    def fail(self, task: Task, why: str, *, final: bool) -> None:
        """Note that a task cannot be done; a `final` failure is not tried at another start.

        Nor is any under `pbt`: a generation that was judged without a line stays as it is.
        """
        final = final or self.sweep.settings.scheduler == "pbt"
        del self.running[task.name]
        self.failed[task.name] = why
        self._note({"event": "failed", "run": task.name, "why": why, "final": final})

    def standing(self, line: Line) -> LineStatus:
        """Where a line is now."""
        failed = self.failed.keys()
        for place, leg in enumerate(line.legs):
            if not self.is_done(leg):
                if failed & {each.run.key for each in line.legs[: place + 1]}:
                    return LineStatus("failed", place)
                running = leg.run.key in self.running
                return LineStatus("running" if running else "ready", place)
            if leg.rung is not None:
                goes_on = self._judge().goes_on(line.number, leg.rung)
                if goes_on is None:
                    return LineStatus("waiting", None, leg.rung)
                if not goes_on:
                    return LineStatus("stopped", None, leg.rung)
        return LineStatus("finished")

    def note_decisions(self) -> list[tuple[Line, int, bool]]:
        """Write down what has been decided since; it follows from the scores alone."""
        judge, found = self._judge(), []
        for line in self.lines:
            for leg in line.legs:
                if leg.rung is None or not self.is_done(leg):
                    continue
                goes_on = judge.goes_on(line.number, leg.rung)
                row = {"event": "judged", "line": line.number, "rung": leg.rung}
                if goes_on is not None and self._identity(row) not in self._noted:
                    self._note(row | {"goes_on": goes_on})
                    found.append((line, leg.rung, goes_on))
        return found

    def outcomes(self) -> list[float | None]:
        """The best merit of each draw, whose trials have all come to their end."""
        best: dict[str, float] = {}
        for line in self.lines:
            for trial, (run, last) in zip(line.trials, line.ends, strict=True):
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

    def _lines_with_more(self) -> Iterator[Line]:
        """All lines; when these have all come to an end, those of the next draws as well."""
        self._breed()
        yield from self.lines
        at_an_end = ("finished", "stopped", "failed")
        if all(self.standing(line).state in at_an_end for line in self.lines):
            yield from self._draw() or self.after

    def _draw(self) -> list[Line]:
        """The lines of the draws that come next, if there are any."""
        draws = next_draws(self.sweep, self.outcomes())
        lines = make_lines(self.trials.add(draws), self._maker, first=len(self.lines))
        self._take_up(lines)
        return lines

    def _breed(self) -> None:
        """Under `pbt`, the children of each generation that is complete."""
        if self.sweep.settings.scheduler != "pbt":
            return
        for rung in sorted({rung for line in self.lines for rung in line.rungs} - self._bred):
            parents = self._judge().parents(rung)
            if parents is None:
                return
            self._bred.add(rung)
            for place, parent in enumerate(parents):
                run, step = next(
                    (leg.run, leg.until) for leg in self.lines[parent].legs if leg.rung == rung
                )
                seed = f"{self.sweep.settings.search_seed}/{rung}/{place}"
                trial = self.trials.child(child_values(run.config, step, seed=seed))
                line = self._maker.child(trial, len(self.lines), parent=run, rung=rung)
                self._take_up([line])

    @property
    def _maker(self) -> LineMaker:
        sweep = self.sweep
        return LineMaker(sweep.settings, sweep.scoring, self.num_rows, self.directory)

    def _take_up(self, lines: list[Line]) -> None:
        """Have new lines, and note the trials that the ledger does not have."""
        self.lines += lines
        for line in lines:
            for trial in line.trials:
                row = {"event": "trial", "number": trial.number, "key": trial.key}
                row |= {"line": line.number, "values": trial.values}
                if self._identity(row) not in self._noted:
                    self._note(row)

    def _judge(self) -> Judge:
        version = (len(self.ended), len(self.failed), len(self.lines))
        if self._judged is None or self._judged[0] != version:
            self._judged = (version, self._new_judge())
        return self._judged[1]

    def _new_judge(self) -> Judge:
        scores = {
            (line.number, leg.rung): self._merit(self.ended[leg.run.key, leg.until]["score"])
            for line in self.lines
            for leg in line.legs
            if leg.rung is not None and self.is_done(leg)
        }
        failed = {
            line.number
            for line in self.lines
            if self.failed.keys() & {leg.run.key for leg in line.legs}
        }
        table = Table([line.rungs for line in self.lines], scores, frozenset(failed))
        return Judge(self.sweep.settings, table)

    def is_done(self, leg: Leg) -> bool:
        """Whether a leg has ended."""
        return (leg.run.key, leg.until) in self.ended

    def _wants_baselines(self) -> bool:
        asked = self.sweep.base.eval.eval_on_start
        return asked and (BASELINES, 0) not in self.ended and BASELINES not in self.failed

    def _score(self, leg: Leg) -> float | None:
        if not leg.scored:
            return None
        found = find_score(leg.run.directory, step_name(leg.until))
        assert found is not None, (leg.run.key, leg.until)
        return found.metrics[self.sweep.metric]

    def _merit(self, score: float) -> float:
        """Signed: the greater, the better."""
        return score if self.sweep.scoring.chooses_greatest else -score

    def _note(self, row: dict[str, Any]) -> None:
        self._noted.add(self._identity(row))
        at = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        append_jsonl(self.directory / LEDGER, row | {"at": at})

    def _identity(self, row: dict[str, Any]) -> tuple[Any, ...]:
        return tuple(row.get(key) for key in ("event", "key", "line", "rung"))
