"""What Ray Train runs on each worker: the loop, with the board for a listener.

TorchTrainer(work, train_loop_config={"config": ..., "board": start_board(), ...})
"""

import errno
import faulthandler
import hashlib
import os
import socket
import traceback
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import ray
import ray.train

from datasets_src.errors import UserError
from trainers.config.schema import Config
from trainers.models.peft_import import import_peft
from trainers.run.location import RunLocation, output_mirror, rows_name
from trainers.supervision.message_board import WorkerError, WorkerLocation
from trainers.supervision.orders import Command
from trainers.supervision.stack_dump import STACKS_SIGNAL, stacks_file


def work(told: dict[str, Any]) -> None:
    """Train, and tell the board of every exception before it ends the worker."""
    os.environ.update(told["environment"])
    import_peft()
    from trainers.loop import run
    from trainers.train_state import WorkerSpec

    context, board = ray.train.get_context(), told["board"]
    config = Config.model_validate(told["config"])
    home, rows = RunLocation(config), output_mirror(config)
    prepared_dir = Path(told["prepared_dir"])
    job = WorkerSpec(
        config=config,
        run_dir=Path(told["run_dir"]) if home.mirror is None else home.run_dir,
        # On an object store each machine has its own directory, and fetches what it lacks.
        prepared_dir=prepared_dir if rows is None else rows.pull_folder(rows_name(prepared_dir)),
        attempt=told["attempt"],
        rank=context.get_world_rank(),
        world_size=context.get_world_size(),
        num_threads=told["num_threads"],
        until=told["until"],
    )
    ray.get(board.place.remote(_place(job.rank)))

    def tell(state: dict[str, Any]) -> Command:
        order: Command = ray.get(board.beat.remote(state))
        return order

    with (
        stacks_file(job.run_dir, f"{job.attempt}-rank{job.rank}").open("w") as stacks,
        FaultTeller(board, job.rank),
        ExitStack() as at_end,
    ):
        faulthandler.register(STACKS_SIGNAL, stacks, all_threads=True)
        at_end.callback(faulthandler.unregister, STACKS_SIGNAL)
        if not run(job, tell, home.mirror):
            ray.get(board.leave.remote())


class FaultTeller:
    """Tells the board what ends the block, and lets it pass."""

    def __init__(self, board: Any, rank: int) -> None:
        self._board, self._rank = board, rank

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, Exception):
            ray.get(self._board.fault.remote(describe(error, rank=self._rank)))


def describe(error: Exception, *, rank: int) -> WorkerError:
    """An exception as the driver is told of it."""
    text = "".join(traceback.format_exception(error))
    frames = traceback.extract_tb(error.__traceback__)
    return WorkerError(
        rank=rank,
        kind=_kind(error, [frame.filename for frame in frames]),
        message=f"{type(error).__name__}: {error}"
        if not isinstance(error, UserError)
        else str(error),
        traceback=text,
        signature=hashlib.sha256(text.encode()).hexdigest(),
    )


def _kind(error: Exception, files: list[str]) -> str:
    from trainers.step.train_step import NonFiniteError

    if isinstance(error, UserError | NonFiniteError):
        return "user"
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return "storage"
    # torch names the allocation that failed in a RuntimeError, without a type of its own on CPU.
    if (
        isinstance(error, MemoryError)
        or "out of memory" in str(error)
        or ("can't allocate memory" in str(error))
    ):
        return "memory"
    lost = isinstance(error, ray.exceptions.RayError)
    if lost or any(f"torch{os.sep}distributed" in file for file in files):
        return "peer"
    return "error"


def _place(rank: int) -> WorkerLocation:
    return WorkerLocation(
        rank=rank,
        node_id=ray.get_runtime_context().get_node_id(),
        host=socket.gethostname(),
        pid=os.getpid(),
    )
