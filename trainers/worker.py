"""What Ray Train runs on each worker: the loop, reporting to the driver's coordinator.

TorchTrainer(work, train_loop_config={"config": ..., "coordinator": start_coordinator(), ...})
"""

import os
import socket
from pathlib import Path
from typing import Any

import ray
import ray.train

from trainers.config.schema import Config
from trainers.models.peft_import import import_peft
from trainers.run.location import RunLocation, output_mirror, rows_name
from trainers.supervision.error_report import ErrorReporter
from trainers.supervision.protocol import Command, WorkerLocation
from trainers.supervision.stack_dump import stack_dump_on_signal


def work(worker_config: dict[str, Any]) -> None:
    """Train; an exception is reported to the coordinator before it ends the worker."""
    os.environ.update(worker_config["environment"])
    import_peft()
    from trainers.loop import run
    from trainers.train_state import WorkerSpec

    context, coordinator = ray.train.get_context(), worker_config["coordinator"]
    config = Config.model_validate(worker_config["config"])
    location, output = RunLocation(config), output_mirror(config)
    prepared_dir = Path(worker_config["prepared_dir"])
    spec = WorkerSpec(
        config=config,
        run_dir=Path(worker_config["run_dir"]) if location.mirror is None else location.run_dir,
        # On an object store each machine has its own directory, and fetches what it lacks.
        prepared_dir=prepared_dir
        if output is None
        else output.pull_folder(rows_name(prepared_dir)),
        attempt=worker_config["attempt"],
        rank=context.get_world_rank(),
        world_size=context.get_world_size(),
        num_threads=worker_config["num_threads"],
        until=worker_config["until"],
    )
    ray.get(coordinator.register.remote(_location(spec.rank)))

    def report(progress: dict[str, Any]) -> Command:
        command: Command = ray.get(coordinator.heartbeat.remote(progress))
        return command

    with (
        stack_dump_on_signal(spec.run_dir, f"{spec.attempt}-rank{spec.rank}"),
        ErrorReporter(coordinator, rank=spec.rank),
    ):
        if not run(spec, report, location.mirror):
            ray.get(coordinator.record_exit.remote())


def _location(rank: int) -> WorkerLocation:
    return WorkerLocation(
        rank=rank,
        node_id=ray.get_runtime_context().get_node_id(),
        host=socket.gethostname(),
        pid=os.getpid(),
    )
