"""From a config and prepared rows to trained checkpoints: attempts, until the plan is done.

    fit(config, prepared_dir=prepared.directory)

An attempt ends because the plan is done, because its workers were commanded to exit, or because
something failed. The next one starts at the newest valid checkpoint, with as many workers as there
are resources for, unless the failure would repeat itself.
"""

import uuid
from collections.abc import Callable
from pathlib import Path

import ray

from datasets_src.errors import UserError
from datasets_src.prepared.store import open_split
from trainers.config.schema import Config
from trainers.evaluation.scoring_pool import ScoringPool
from trainers.hub.push import SavePusher
from trainers.process.failpoints import failpoint_environment
from trainers.process.signals import StopSignal
from trainers.run.location import RunLocation, output_mirror, rows_name
from trainers.run.state import PROGRESS
from trainers.storage.json_files import write_json
from trainers.supervision.coordinator import read_status, start_coordinator
from trainers.supervision.display import Display
from trainers.supervision.monitor import Monitor
from trainers.supervision.protocol import WorkerStatus
from trainers.supervision.resources import wait_for_workers
from trainers.supervision.restart_policy import AttemptResult, RestartPolicy, attempt_result
from trainers.supervision.stack_dump import remove_empty_dumps
from trainers.supervision.train_run import ray_train_run
from trainers.worker import work

POLL_S = 0.5


def fit(
    config: Config,
    *,
    prepared_dir: Path,
    location: RunLocation | None = None,
    stop: StopSignal | None = None,
    until: int | None = None,
) -> None:
    """Train to the end of the plan, or until the step `until` is saved.

    Raises:
        UserError: a failure that no restart fixes (a row over the budget, too few resources, no
            space, no memory, a loss that is not finite).
        RunFailed: the same exception twice, or `max_failures` restarts without a new checkpoint.
        StoppedBySignal: after the workers have saved.
    """
    check_budget(config, prepared_dir)
    stop, location = stop or StopSignal(), location or RunLocation(config)
    if (output := output_mirror(config)) is not None:
        output.push_folder(rows_name(prepared_dir))
    location.push()
    policy = RestartPolicy(location, config.scaling.max_failures)
    with (
        Display(location.run_dir) as display,
        SavePusher(location, config=config),
        ScoringPool(
            config, run_dir=location.run_dir, prepared_dir=prepared_dir, log=display.log
        ) as scoring,
        stop.graceful(),
    ):
        while True:
            num_workers, cpus = wait_for_workers(
                config, stop=stop, log=display.log, num_actors=scoring.num_waiting
            )
            scoring.start(cpus)
            scoring.forget_after(location.newest_step())
            result = run_attempt(
                config,
                run_dir=location.run_dir,
                prepared_dir=prepared_dir,
                num_workers=num_workers,
                cpus=cpus,
                stop=stop,
                display=display,
                until=until,
                on_poll=scoring.poll,
            )
            location.refresh()
            write_json(location.run_dir / PROGRESS, result.status.progress)
            if result.kind == "finished":
                scoring.finish(lambda: _show_scoring(display, stop))
                return
            stop.raise_if_asked()
            if result.kind == "failed":
                policy.check(result, num_workers)
            display.log(f"restart   {result.reason}; resuming from step {location.newest_step()}")


def run_attempt(
    config: Config,
    *,
    run_dir: Path,
    prepared_dir: Path,
    num_workers: int,
    cpus: int,
    stop: StopSignal,
    display: Display,
    until: int | None = None,
    on_poll: Callable[[], object] = lambda: None,
) -> AttemptResult:
    """Train with `num_workers` workers of `cpus` CPUs until they finish, exit or fail."""
    attempt, coordinator, status = uuid.uuid4().hex[:6], start_coordinator(), WorkerStatus()
    worker_config = {
        "config": config.model_dump(mode="json"),
        "run_dir": str(run_dir),
        "prepared_dir": str(prepared_dir),
        "attempt": attempt,
        "num_threads": cpus,
        "until": until,
        "coordinator": coordinator,
        "environment": failpoint_environment(),
    }
    monitor = Monitor(config, coordinator, world_size=num_workers, cpus=cpus, stop=stop)
    try:
        with ray_train_run(
            work, worker_config, config=config, num_workers=num_workers, cpus=cpus
        ) as training:
            while not training.wait(POLL_S):
                status = read_status(coordinator) or status
                display.show(status.progress)
                monitor.check(status)
                on_poll()
            status = read_status(coordinator) or status
            return attempt_result(attempt, status, error=training.error, reason=monitor.reason)
    finally:
        monitor.close()
        ray.kill(coordinator)
        remove_empty_dumps(run_dir)


def _show_scoring(display: Display, stop: StopSignal) -> None:
    display.show({"phase": "score the remaining checkpoints"})
    stop.raise_if_asked()


def check_budget(config: Config, prepared_dir: Path) -> None:
    """Refuse a row that exceeds the token budget of a micro-batch."""
    longest = int(open_split(prepared_dir, "train").lengths.max())
    if longest > config.train.max_tokens_per_micro_batch:
        raise UserError(
            f"train.max_tokens_per_micro_batch: {config.train.max_tokens_per_micro_batch}, but the "
            f"longest row has {longest} tokens; set max_tokens_per_micro_batch={longest} or lower "
            "data.max_length"
        )
