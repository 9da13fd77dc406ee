"""A sweep on Ray Tune: Tune asks for legs, places them on the cluster and tells of dead actors.

run_sweep(director, work)       # Work: prepared rows, base, threads, …

Tune decides nothing else. Every leg is a Tune trial that ends by itself: no trial is ever stopped,
paused or restored by Tune, whose records are written late and unpickled (Ray 2.60: up to 10 s), and
whose stopping leaks the placement groups of nested trainers where the dashboard is off.
"""

import json
import os
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ray
from ray import tune as ray_tune
from ray.tune.search import Searcher
from ray.util.placement_group import PlacementGroup, remove_placement_group

from datasets_src.errors import UserError
from trainers.process.background import Background
from trainers.process.failpoints import failpoint_environment
from trainers.process.signals import RunFailed, StopSignal
from trainers.run.location import RunLocation
from trainers.supervision.coordinator import start_coordinator
from trainers.supervision.protocol import Command, WorkerStatus
from trainers.supervision.restart_policy import AttemptResult, RestartPolicy
from trainers.supervision.train_run import placement_groups
from tune.config import is_nested
from tune.resources.room import Room
from tune.trainable import fault_of, perform
from tune.trials.director import Director, Task, Work

POLL_S = 0.25
FREE_LIMIT_S = 30.0


class Legs(Searcher):
    """Gives Tune the director's tasks, and the director their endings."""

    def __init__(self, director: Director, work: Work, room: Room) -> None:
        super().__init__()
        self._director, self._work, self._room = director, work, room
        self._tasks: dict[str, Task] = {}
        self._patience: dict[str, RestartPolicy] = {}
        self.say: Callable[[str], None] = print
        self.fatal: BaseException | None = None
        self.leaving = False

    def suggest(self, trial_id: str) -> Any:
        """The next task; None while there is none, FINISHED when there will be none."""
        director = self._director
        if self.leaving or self.fatal is not None or director.done:
            return Searcher.FINISHED
        if len(director.running) >= self._work.num_trials:
            return None
        task = director.next_task()
        if task is None or not self._has_room(task):
            return Searcher.FINISHED if self.fatal is not None else None
        director.begin(task)
        self._tasks[trial_id] = task
        return {"told": json.dumps(self._told(task))}

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        """A leg reports once, when it ends."""

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        """Take in how a task ended."""
        task = self._tasks.pop(trial_id)
        try:
            ending = {} if error or result is None else json.loads(result["ending"])
            if not ending or ending["fault"] is not None:
                self._judge(task, ending)
            elif ending["left"]:
                self._director.interrupt(task)
            else:
                self._finish(task, ending)
        except BaseException as failure:  # Tune would log it and go on
            self.fatal = self.fatal or failure

    def resources(self) -> dict[str, float]:
        """What each trial holds."""
        base = self._director.sweep.base
        if is_nested(base):
            # Its workers ask for their own; what starts them only waits.
            return {"memory": 1.0}
        gpu = {"GPU": 1.0} if base.scaling.use_gpu else {}
        return {"CPU": float(self._work.num_threads), **gpu}

    def save(self, checkpoint_path: str) -> None:
        """Nothing: the ledger has all."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing: a sweep is taken up from its ledger."""

    def _has_room(self, task: Task) -> bool:
        try:
            return self._room.for_task(task, self._director)
        except UserError as error:
            self.fatal = error
            return False

    def _finish(self, task: Task, ending: dict[str, Any]) -> None:
        score = self._director.end(task, ending)
        if task.leg is not None and task.line is not None:
            told = "" if score is None else f"  {self._director.sweep.metric} {score:.3f}"
            self.say(f"trained   {task.name} to step {task.leg.until}{told}")
        for line, rung, goes_on in self._director.note_decisions():
            what = "goes on after" if goes_on else "stops after"
            self.say(f"judged    {line.legs[0].run.key} {what} save {rung}")
        self._room.settle(self._director)

    def _judge(self, task: Task, ending: dict[str, Any]) -> None:
        """Try again what may pass; else the trial has failed, and the others go on."""
        config = self._director.sweep.base if task.leg is None else task.leg.run.config
        home = RunLocation(config)
        patience = self._patience.setdefault(
            task.name, RestartPolicy(home, config.scaling.max_failures)
        )
        fault = fault_of(ending)
        why = fault.message if fault is not None else "its process died"
        word = WorkerStatus(errors=[] if fault is None else [fault])
        try:
            patience.check(AttemptResult("failed", task.attempt, why, word), 1)
        except (UserError, RunFailed) as error:
            if fault is not None and fault.kind == "storage":
                raise
            self._director.fail(task, str(error), final=isinstance(error, UserError))
            self.say(f"failed    {task.name}: {error}")
            self._room.settle(self._director)
        else:
            self._director.interrupt(task)
            self.say(f"again     {task.name}: {why}")

    def _told(self, task: Task) -> dict[str, Any]:
        director, work, leg = self._director, self._work, task.leg
        beside = director.sweep.base.model_copy(update={"eval": director.sweep.scoring})
        config = beside if leg is None else leg.run.config
        scaling = config.scaling.model_copy(update={"cpus_per_worker": work.num_threads})
        told: dict[str, Any] = {
            "kind": "baselines" if leg is None else "leg",
            "config": config.model_copy(update={"scaling": scaling}).model_dump(mode="json"),
            "sweep_dir": str(director.directory),
            "prepared_dir": str(work.prepared_dir),
            "data_hash": work.data_hash,
            "scored": True,
            "base": work.base,
            "attempt": task.attempt,
            "num_threads": work.num_threads,
            "environment": failpoint_environment(),
        }
        if leg is not None and task.line is not None:
            start = leg.start and {"run_dir": str(leg.start[0].directory), "step": leg.start[1]}
            last = max(each.until for each in task.line.legs if each.run.key == leg.run.key)
            told |= {"until": leg.until, "last": leg.until == last, "start": start}
            if leg.rows is not None:
                told |= {"prepared_dir": str(leg.rows), "data_hash": leg.rows.name}
                told["scored"] = False
        return told


def run_legs(director: Director, work: Work, room: Room, *, stop: StopSignal) -> None:
    """Do all that the director asks for; at the end nothing of ours holds a resource.

    Raises:
        UserError, RunFailed: what ends the whole sweep (storage full, budget too small).
        Stopped: by a signal, when the trials at work have saved.
    """
    if director.done:
        return
    board, groups = start_coordinator(), placement_groups()
    legs = Legs(director, work, room)
    scratch = Path(tempfile.mkdtemp(prefix="gallipato-tune-"))
    try:
        with stop.graceful():
            tuner = make_tuner(legs, work, scratch, board=board)
            fitting = Background(tuner.fit)
            while not fitting.wait(POLL_S):
                stop.raise_if_lost()
                if stop.signum is not None and not legs.leaving:
                    legs.leaving = True
                    board.command.remote(Command.SAVE_AND_EXIT)
            stop.raise_if_asked()
    finally:
        ray.kill(board)
        for group in placement_groups() - groups:
            remove_placement_group(PlacementGroup(ray.PlacementGroupID(bytes.fromhex(group))))
        shutil.rmtree(scratch, ignore_errors=True)
    if legs.fatal is not None:
        raise legs.fatal
    if fitting.error is not None:
        raise fitting.error
    assert director.done, "Tune ended before the sweep did"


def make_tuner(legs: Legs, work: Work, scratch: Path, *, board: Any) -> ray_tune.Tuner:
    """Tune with neither loggers, nor checkpoints, nor retries of its own."""
    os.environ["TUNE_DISABLE_AUTO_CALLBACK_LOGGERS"] = "1"
    os.environ["RAY_AIR_NEW_OUTPUT"] = "0"  # it prints a table of settings that are not ours
    os.environ["TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S"] = "0"
    # Several legs that are placed at once start at once.
    os.environ["TUNE_MAX_PENDING_TRIALS_PG"] = str(work.num_trials)
    told_all = ray_tune.with_parameters(perform, board=board)
    return ray_tune.Tuner(
        ray_tune.with_resources(told_all, ray_tune.PlacementGroupFactory([legs.resources()])),
        tune_config=ray_tune.TuneConfig(
            search_alg=legs,
            num_samples=-1,
            # The next leg finds torch and transformers imported: five seconds each time.
            reuse_actors=True,
        ),
        run_config=ray_tune.RunConfig(
            name="legs",
            storage_path=str(scratch),
            failure_config=ray_tune.FailureConfig(max_failures=0),
            verbose=0,
        ),
    )


def wait_until_free() -> None:
    """Check that the cluster is as free as if the sweep had not been.

    Raises:
        RunFailed: something is still held after a while.
    """
    deadline = time.monotonic() + FREE_LIMIT_S
    while (free := _comparable(ray.available_resources())) != (
        total := _comparable(ray.cluster_resources())
    ):
        if time.monotonic() > deadline:
            held = {k: v - free.get(k, 0) for k, v in total.items() if v != free.get(k, 0)}
            raise RunFailed(f"the sweep has ended, but resources are still held: {held}")
        time.sleep(POLL_S)


def _comparable(resources: dict[str, float]) -> dict[str, float]:
    # Bytes of the object store are in use while any object is.
    return {k: round(v, 3) for k, v in resources.items() if k != "object_store_memory"}
