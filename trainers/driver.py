"""From a config and prepared rows to trained checkpoints: attempts, until the plan is done.

    fit(config, prepared_dir=prepared.directory)

An attempt (driver.py) ends because it is done, because its workers were told to leave, or because
something failed; then the next one begins at the newest valid checkpoint, with as many workers as
there is room for, unless what failed would fail again.
"""

import os
import shutil
import tempfile
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ray
import ray.train
from ray.exceptions import GetTimeoutError, RayActorError
from ray.train.torch import TorchConfig
from ray.util.placement_group import PlacementGroup, remove_placement_group

from datasets_src.errors import UserError
from datasets_src.prepared.store import open_split
from trainers.config.schema import Config
from trainers.evaluation.scoring_actors import ScoringPool
from trainers.hub.push import SavePusher
from trainers.process.background import Background
from trainers.process.failpoints import failpoint_environment
from trainers.process.signals import StopSignal
from trainers.run.location import RunLocation, output_mirror, rows_name
from trainers.run.state import PROGRESS
from trainers.storage.json_files import write_json
from trainers.supervision.display import Display
from trainers.supervision.message_board import WorkerStatus, start_coordinator
from trainers.supervision.monitor import Monitor
from trainers.supervision.ray_trainer import RayTrainer
from trainers.supervision.resources import wait_for_workers
from trainers.supervision.restart_policy import AttemptResult, RestartPolicy
from trainers.supervision.stack_dump import remove_empty_stacks
from trainers.worker import work


def fit(
    config: Config,
    *,
    prepared_dir: Path,
    home: RunLocation | None = None,
    stop: StopSignal | None = None,
    until: int | None = None,
) -> None:
    """Train until the plan's end, or until the step `until` is saved.

    Raises:
        UserError: a fault that no restart mends (a row over the budget, too few resources, no
            space, no memory, a loss that is not finite).
        RunFailed: the same exception twice, or `max_failures` restarts without a new checkpoint.
        Stopped: by a signal, when the workers have saved.
    """
    check_budget(config, prepared_dir)
    stop, home = stop or StopSignal(), home or RunLocation(config)
    run_dir = home.run_dir
    if (rows := output_mirror(config)) is not None:
        rows.push_folder(rows_name(prepared_dir))
    home.push()
    patience = RestartPolicy(home, config.scaling.max_failures)
    with (
        Display(run_dir) as watcher,
        SavePusher(home, config=config),
        ScoringPool(
            config, run_dir=run_dir, prepared_dir=prepared_dir, say=watcher.say
        ) as examiner,
        stop.graceful(),
    ):
        while True:
            num_workers, cpus = wait_for_workers(
                config, stop=stop, say=watcher.say, beside=examiner.num_waiting
            )
            examiner.start(cpus)
            examiner.forget_after(home.newest_step())
            ending = run_attempt(
                config,
                run_dir=run_dir,
                prepared_dir=prepared_dir,
                num_workers=num_workers,
                cpus=cpus,
                stop=stop,
                watcher=watcher,
                until=until,
                beside=examiner.look,
            )
            home.refresh()
            write_json(run_dir / PROGRESS, ending.word.state)
            if ending.kind == "finished":
                examiner.finish(lambda: _wait(watcher, stop))
                return
            stop.raise_if_asked()
            if ending.kind == "failed":
                patience.judge(ending, num_workers)
            watcher.say(f"restart   {ending.why}; goes on after step {home.newest_step()}")


def _wait(watcher: Display, stop: StopSignal) -> None:
    watcher.show({"phase": "score what is left"})
    stop.raise_if_asked()


def check_budget(config: Config, prepared_dir: Path) -> None:
    """Refuse a row that no micro-batch may hold."""
    longest = int(open_split(prepared_dir, "train").lengths.max())
    if longest > config.train.max_tokens_per_micro_batch:
        raise UserError(
            f"train.max_tokens_per_micro_batch: {config.train.max_tokens_per_micro_batch}, but the "
            f"longest row has {longest} tokens; set max_tokens_per_micro_batch={longest} or lower "
            "data.max_length"
        )


POLL_S = 0.5
BOARD_LIMIT_S = 5.0


def run_attempt(
    config: Config,
    *,
    run_dir: Path,
    prepared_dir: Path,
    num_workers: int,
    cpus: int,
    stop: StopSignal,
    watcher: Display,
    until: int | None = None,
    beside: Callable[[], object] = lambda: None,
) -> AttemptResult:
    """Train with so many workers until the plan's end (or step `until`), or until they leave or
    fail.

    `beside` is called all the while.
    """
    attempt, board, word = uuid.uuid4().hex[:6], start_coordinator(), WorkerStatus()
    groups = placement_groups()
    scratch = Path(tempfile.mkdtemp(prefix="gallipato-ray-"))
    told = {
        "config": config.model_dump(mode="json"),
        "run_dir": str(run_dir),
        "prepared_dir": str(prepared_dir),
        "attempt": attempt,
        "num_threads": cpus,
        "until": until,
        "board": board,
        "environment": failpoint_environment(),
    }
    trainer = make_trainer(config, told, num_workers=num_workers, cpus=cpus, scratch=scratch)
    guard = Monitor(config, board, world_size=num_workers, cpus=cpus, stop=stop)
    fitting = Background(trainer.fit)
    try:
        while not fitting.wait(POLL_S):
            word = _read(board) or word
            watcher.show(word.state)
            guard.look(word)
            beside()
        word = _read(board) or word
        return _ending(attempt, guard, word, fitting.error)
    finally:
        guard.close()
        ray.kill(board)
        # Ray Train leaves them where its controller died, or a worker while the group was made.
        for group in placement_groups() - groups:
            remove_placement_group(PlacementGroup(ray.PlacementGroupID(bytes.fromhex(group))))
        remove_empty_stacks(run_dir)
        shutil.rmtree(scratch, ignore_errors=True)


def make_trainer(
    config: Config, told: dict[str, Any], *, num_workers: int, cpus: int, scratch: Path
) -> RayTrainer:
    """Ray Train without restarts of its own: those are the driver's, which knows the reason."""
    # Drained nodes are the guard's: Ray's own watcher would restart workers before they saved.
    os.environ["RAY_TRAIN_ENABLE_PREEMPTION_WATCHER"] = "0"
    # Seconds until a dead worker is noticed.
    os.environ.setdefault("RAY_TRAIN_HEALTH_CHECK_INTERVAL_S", "1")
    gpu = config.scaling.use_gpu
    return RayTrainer(
        work,
        train_loop_config=told,
        scaling_config=ray.train.ScalingConfig(
            num_workers=num_workers,
            use_gpu=gpu,
            resources_per_worker={"CPU": cpus} | ({"GPU": 1} if gpu else {}),
        ),
        # Gradients travel by nccl, what the workers tell each other of files and replies by gloo.
        torch_config=TorchConfig("cpu:gloo,cuda:nccl" if gpu else "gloo"),
        run_config=ray.train.RunConfig(
            name=told["attempt"],
            storage_path=str(scratch),
            failure_config=ray.train.FailureConfig(max_failures=0),
        ),
    )


def _read(board: Any) -> WorkerStatus | None:
    try:
        word: WorkerStatus = ray.get(board.read.remote(), timeout=BOARD_LIMIT_S)
    except (RayActorError, GetTimeoutError):
        return None
    return word


def _ending(
    attempt: str, guard: Monitor, word: WorkerStatus, error: BaseException | None
) -> AttemptResult:
    if word.left:
        return AttemptResult("left", attempt, guard.why or "told to leave", word, error)
    if error is None:
        return AttemptResult("finished", attempt, "", word)
    faults = [f for f in word.faults if f.kind != "peer"]
    why = guard.why or (faults[0].message if faults else _first_line(error))
    return AttemptResult("failed", attempt, why, word, error)


def _first_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {' '.join(lines[:3])[:300]}"


def placement_groups() -> set[str]:
    """Ids of this job's placement groups that hold or wait for resources."""
    job = ray.get_runtime_context().get_job_id()
    table = ray.util.placement_group_table()
    # An id ends with that of its job.
    return {id for id, group in table.items() if id.endswith(job) and group["state"] != "REMOVED"}
