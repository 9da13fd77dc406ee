"""One attempt to train: a Ray Train run with a name of its own, watched until it ends.

ending = run_attempt(config, run_dir=run_dir, num_workers=2, cpus=1, ...)

What a restart needs lies in our checkpoint store, so Ray keeps no checkpoint of ours and its own
index of them matters to nobody.
"""

import os
import shutil
import tempfile
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import ray
import ray.train
from ray.exceptions import GetTimeoutError, RayActorError
from ray.train.torch import TorchConfig
from ray.util.placement_group import PlacementGroup, remove_placement_group

from trainers.background import Background
from trainers.board import Fault, Word, start_board
from trainers.config import Config
from trainers.failpoints import failpoint_environment
from trainers.guard import Guard, remove_empty_stacks
from trainers.lean_train import LeanTrainer
from trainers.stop import StopRequest
from trainers.watcher import Watcher
from trainers.worker import work

POLL_S = 0.5
BOARD_LIMIT_S = 5.0


@dataclass(frozen=True)
class Ending:
    """How an attempt ended: the plan is done, workers left as told, or something failed.

    `word` is what the workers had said by then, `error` what Ray Train made of it.
    """

    kind: Literal["finished", "left", "failed"]
    attempt: str
    why: str
    word: Word
    error: BaseException | None = None

    @property
    def fault(self) -> Fault | None:
        """The first exception that is not merely that another worker went away."""
        return next((f for f in self.word.faults if f.kind != "peer"), None)


def run_attempt(
    config: Config,
    *,
    run_dir: Path,
    prepared_dir: Path,
    num_workers: int,
    cpus: int,
    stop: StopRequest,
    watcher: Watcher,
    until: int | None = None,
    beside: Callable[[], object] = lambda: None,
) -> Ending:
    """Train with so many workers until the plan's end (or step `until`), or until they leave or
    fail.

    `beside` is called all the while.
    """
    attempt, board, word = uuid.uuid4().hex[:6], start_board(), Word()
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
    guard = Guard(config, board, world=num_workers, cpus=cpus, stop=stop)
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
) -> LeanTrainer:
    """Ray Train without restarts of its own: those are the driver's, which knows the reason."""
    # Drained nodes are the guard's: Ray's own watcher would restart workers before they saved.
    os.environ["RAY_TRAIN_ENABLE_PREEMPTION_WATCHER"] = "0"
    # Seconds until a dead worker is noticed.
    os.environ.setdefault("RAY_TRAIN_HEALTH_CHECK_INTERVAL_S", "1")
    gpu = config.scaling.use_gpu
    return LeanTrainer(
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


def _read(board: Any) -> Word | None:
    try:
        word: Word = ray.get(board.read.remote(), timeout=BOARD_LIMIT_S)
    except (RayActorError, GetTimeoutError):
        return None
    return word


def _ending(attempt: str, guard: Guard, word: Word, error: BaseException | None) -> Ending:
    if word.left:
        return Ending("left", attempt, guard.why or "told to leave", word, error)
    if error is None:
        return Ending("finished", attempt, "", word)
    faults = [f for f in word.faults if f.kind != "peer"]
    why = guard.why or (faults[0].message if faults else _first_line(error))
    return Ending("failed", attempt, why, word, error)


def _first_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {' '.join(lines[:3])[:300]}"


def placement_groups() -> set[str]:
    """Ids of this job's placement groups that hold or wait for resources."""
    job = ray.get_runtime_context().get_job_id()
    table = ray.util.placement_group_table()
    # An id ends with that of its job.
    return {id for id, group in table.items() if id.endswith(job) and group["state"] != "REMOVED"}
