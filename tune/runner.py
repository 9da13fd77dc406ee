"""A sweep on Ray Tune: Tune asks for segments, places them on the cluster and reports dead actors.

run_segments(controller, context, quota, stop=stop)

Tune decides nothing else. Every segment is a Tune trial that ends by itself: Tune never stops,
pauses or restores a trial, because it writes its records late and pickled (Ray 2.60: up to 10 s),
and because stopping leaks the placement groups of nested trainers if the dashboard is off.
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
from trainers.supervision.protocol import Command, WorkerError, WorkerStatus
from trainers.supervision.restart_policy import AttemptResult, RestartPolicy
from trainers.supervision.train_run import placement_groups
from tune.config import is_nested
from tune.resources.quota import DiskQuota
from tune.trainable import error_of, run_task
from tune.trials.controller import SweepContext, SweepController, Task

POLL_S = 0.25
FREE_LIMIT_S = 30.0


class SegmentSearcher(Searcher):
    """Hands the controller's tasks to Tune, and their results to the controller."""

    def __init__(
        self, controller: SweepController, context: SweepContext, quota: DiskQuota
    ) -> None:
        super().__init__()
        self._controller, self._context, self._quota = controller, context, quota
        self._tasks: dict[str, Task] = {}
        self._restart_policies: dict[str, RestartPolicy] = {}
        self.log: Callable[[str], None] = print
        self.fatal: BaseException | None = None
        self.stopping = False

    def suggest(self, trial_id: str) -> Any:
        """The next task; None while there is none, FINISHED when there will be none."""
        controller = self._controller
        if self.stopping or self.fatal is not None or controller.done:
            return Searcher.FINISHED
        if len(controller.running) >= self._context.num_trials:
            return None
        task = controller.next_task()
        if task is None or not self._fits_quota(task):
            return Searcher.FINISHED if self.fatal is not None else None
        controller.begin(task)
        self._tasks[trial_id] = task
        return {"task": json.dumps(self._message(task))}

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        """Nothing: a segment reports once, when it ends."""

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        """Pass on how a task ended."""
        task = self._tasks.pop(trial_id)
        try:
            outcome = {} if error or result is None else json.loads(result["outcome"])
            if not outcome or outcome["error"] is not None:
                self._retry_or_fail(task, error_of(outcome))
            elif outcome["interrupted"]:
                self._controller.interrupt(task)
            else:
                self._finish(task, outcome)
        except BaseException as failure:  # Tune would only log it
            self.fatal = self.fatal or failure

    def resources(self) -> dict[str, float]:
        """What each trial reserves."""
        base = self._controller.sweep.base
        if is_nested(base):
            # Its workers reserve their own cores; the actor that starts them only waits.
            return {"memory": 1.0}
        gpu = {"GPU": 1.0} if base.scaling.use_gpu else {}
        return {"CPU": float(self._context.num_threads), **gpu}

    def save(self, checkpoint_path: str) -> None:
        """Nothing: the state is in the ledger."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing: a sweep resumes from its ledger."""

    def _fits_quota(self, task: Task) -> bool:
        try:
            return self._quota.allows(task, self._controller)
        except UserError as error:
            self.fatal = error
            return False

    def _finish(self, task: Task, outcome: dict[str, Any]) -> None:
        score = self._controller.end(task, outcome)
        if task.segment is not None:
            metric = "" if score is None else f"  {self._controller.sweep.metric} {score:.3f}"
            self.log(f"trained   {task.name} to step {task.segment.until}{metric}")
        for group, rung, continues in self._controller.record_decisions():
            decision = "continues" if continues else "stops"
            self.log(f"decided   {group.segments[0].run.key} {decision} after save {rung}")
        self._quota.prune_ended(self._controller)

    def _retry_or_fail(self, task: Task, error: WorkerError | None) -> None:
        """Retry if another attempt may succeed; else the trial has failed, the others continue."""
        segment = task.segment
        config = self._controller.sweep.base if segment is None else segment.run.config
        policy = self._restart_policies.setdefault(
            task.name, RestartPolicy(RunLocation(config), config.scaling.max_failures)
        )
        reason = error.message if error is not None else "its process died"
        status = WorkerStatus(errors=[] if error is None else [error])
        try:
            policy.check(AttemptResult("failed", task.attempt, reason, status), 1)
        except (UserError, RunFailed) as failure:
            if error is not None and error.kind == "storage":
                raise
            self._controller.fail(task, str(failure), final=isinstance(failure, UserError))
            self.log(f"failed    {task.name}: {failure}")
            self._quota.prune_ended(self._controller)
        else:
            self._controller.interrupt(task)
            self.log(f"retry     {task.name}: {reason}")

    def _message(self, task: Task) -> dict[str, Any]:
        """What `run_task` needs to know, as JSON values."""
        sweep, context, segment = self._controller.sweep, self._context, task.segment
        baselines = sweep.base.model_copy(update={"eval": sweep.scoring})
        config = baselines if segment is None else segment.run.config
        scaling = config.scaling.model_copy(update={"cpus_per_worker": context.num_threads})
        message: dict[str, Any] = {
            "kind": "baselines" if segment is None else "segment",
            "config": config.model_copy(update={"scaling": scaling}).model_dump(mode="json"),
            "sweep_dir": str(self._controller.directory),
            "prepared_dir": str(context.prepared_dir),
            "data_hash": context.data_hash,
            "scored": True,
            "base": context.base,
            "attempt": task.attempt,
            "num_threads": context.num_threads,
            "environment": failpoint_environment(),
        }
        if segment is not None and task.group is not None:
            parent = segment.parent
            start = parent and {"run_dir": str(parent[0].directory), "step": parent[1]}
            same_run = [each for each in task.group.segments if each.run.key == segment.run.key]
            last = max(each.until for each in same_run)
            message |= {"until": segment.until, "last": segment.until == last, "parent": start}
            if segment.rows is not None:
                message |= {"prepared_dir": str(segment.rows), "data_hash": segment.rows.name}
                message["scored"] = False
        return message


def run_segments(
    controller: SweepController, context: SweepContext, quota: DiskQuota, *, stop: StopSignal
) -> None:
    """Run the controller's tasks until none is left; afterwards we hold no resource.

    Raises:
        UserError, RunFailed: what ends the whole sweep (storage full, quota too small).
        StoppedBySignal: the running trials have saved.
    """
    if controller.done:
        return
    coordinator, groups_before = start_coordinator(), placement_groups()
    searcher = SegmentSearcher(controller, context, quota)
    scratch = Path(tempfile.mkdtemp(prefix="gallipato-tune-"))
    try:
        with stop.graceful():
            tuner = make_tuner(searcher, context, scratch, coordinator=coordinator)
            fitting = Background(tuner.fit)
            while not fitting.wait(POLL_S):
                stop.raise_if_lost()
                if stop.signum is not None and not searcher.stopping:
                    searcher.stopping = True
                    coordinator.command.remote(Command.SAVE_AND_EXIT)
            stop.raise_if_asked()
    finally:
        ray.kill(coordinator)
        for group in placement_groups() - groups_before:
            remove_placement_group(PlacementGroup(ray.PlacementGroupID(bytes.fromhex(group))))
        shutil.rmtree(scratch, ignore_errors=True)
    if searcher.fatal is not None:
        raise searcher.fatal
    if fitting.error is not None:
        raise fitting.error
    assert controller.done, "Tune ended before the sweep did"


def make_tuner(
    searcher: SegmentSearcher, context: SweepContext, scratch: Path, *, coordinator: Any
) -> ray_tune.Tuner:
    """A Tuner without loggers, checkpoints or retries of its own."""
    os.environ["TUNE_DISABLE_AUTO_CALLBACK_LOGGERS"] = "1"
    os.environ["RAY_AIR_NEW_OUTPUT"] = "0"  # its table lists settings that are not ours
    os.environ["TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S"] = "0"
    # Segments that are placed together start together.
    os.environ["TUNE_MAX_PENDING_TRIALS_PG"] = str(context.num_trials)
    trainable = ray_tune.with_parameters(run_task, coordinator=coordinator)
    bundles = ray_tune.PlacementGroupFactory([searcher.resources()])
    return ray_tune.Tuner(
        ray_tune.with_resources(trainable, bundles),
        tune_config=ray_tune.TuneConfig(
            search_alg=searcher,
            num_samples=-1,
            # The next segment finds torch and transformers imported, which saves five seconds.
            reuse_actors=True,
        ),
        run_config=ray_tune.RunConfig(
            name="segments",
            storage_path=str(scratch),
            failure_config=ray_tune.FailureConfig(max_failures=0),
            verbose=0,
        ),
    )


def wait_until_free() -> None:
    """Wait until the cluster is as free as before the sweep.

    Raises:
        RunFailed: resources are still held after FREE_LIMIT_S.
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
    # The object store's bytes change as long as any object exists.
    return {k: round(v, 3) for k, v in resources.items() if k != "object_store_memory"}
