"""From a config and prepared rows to trained checkpoints: a Ray Train run of our loop.

    fit(config, run_dir=run_dir, prepared_dir=prepared.directory)

Ray Train starts, places and restarts the workers. What a restart needs lies in our own
checkpoint store, so Ray gets a fresh name per attempt and keeps no checkpoint of ours.
"""

import os
import shutil
import time
import uuid
from pathlib import Path
from typing import Any

import ray
import ray.train
from ray.train.torch import TorchConfig, TorchTrainer

from datasets_src.errors import UserError
from datasets_src.store import open_split
from trainers.config import Config
from trainers.progress import FILE as PROGRESS
from trainers.progress import Watcher
from trainers.run_dir import read_json, write_json
from trainers.save_push import SavePusher

FAULT = "fault.json"


def fit(config: Config, *, run_dir: Path, prepared_dir: Path) -> None:
    """Train until the plan's end, restarting workers that die up to `max_failures` times.

    Raises:
        UserError: a fault that no restart mends (a row over the budget, too few resources, a
            loss that is not finite).
    """
    check_budget(config, prepared_dir)
    cpus = wait_for_resources(config)
    attempt = uuid.uuid4().hex[:6]
    (run_dir / FAULT).unlink(missing_ok=True)
    write_json(run_dir / PROGRESS, {"phase": "start workers"})
    scratch = run_dir / "ray"
    trainer = TorchTrainer(
        worker,
        train_loop_config={
            "config": config.model_dump(mode="json"),
            "run_dir": str(run_dir),
            "prepared_dir": str(prepared_dir),
            "attempt": attempt,
            "num_threads": cpus,
        },
        scaling_config=ray.train.ScalingConfig(
            num_workers=config.scaling.num_workers,
            use_gpu=config.scaling.use_gpu,
            resources_per_worker={"CPU": cpus} | ({"GPU": 1} if config.scaling.use_gpu else {}),
        ),
        # Gradients travel by nccl, what the workers tell each other of files and replies by gloo.
        torch_config=TorchConfig("cpu:gloo,cuda:nccl" if config.scaling.use_gpu else "gloo"),
        run_config=ray.train.RunConfig(
            name=attempt,
            storage_path=str(scratch),
            failure_config=ray.train.FailureConfig(max_failures=config.scaling.max_failures),
        ),
    )
    with Watcher(run_dir), SavePusher(run_dir, config=config):
        trainer.fit()
    shutil.rmtree(scratch, ignore_errors=True)
    if fault := read_json(run_dir / FAULT):
        raise UserError(*fault["faults"])


def worker(told: dict[str, Any]) -> None:
    """What Ray Train runs on each worker."""
    from trainers.loop import Job, run
    from trainers.step import NonFiniteError

    context = ray.train.get_context()
    run_dir = Path(told["run_dir"])
    job = Job(
        config=Config.model_validate(told["config"]),
        run_dir=run_dir,
        prepared_dir=Path(told["prepared_dir"]),
        attempt=told["attempt"],
        rank=context.get_world_rank(),
        world=context.get_world_size(),
        num_threads=told["num_threads"],
    )
    # A fault that comes again on every restart is handed to the driver; the others restart.
    try:
        run(job)
    except UserError as error:
        faults = list(error.faults)
    except NonFiniteError as error:
        faults = [str(error)]
    else:
        return
    if job.rank == 0:
        write_json(run_dir / FAULT, {"faults": faults})


def check_budget(config: Config, prepared_dir: Path) -> None:
    """Refuse a row that no micro-batch may hold."""
    longest = int(open_split(prepared_dir, "train").lengths.max())
    if longest > config.train.max_tokens_per_micro_batch:
        raise UserError(
            f"train.max_tokens_per_micro_batch: {config.train.max_tokens_per_micro_batch}, but the "
            f"longest row has {longest} tokens; set max_tokens_per_micro_batch={longest} or lower "
            "data.max_length"
        )


def wait_for_resources(config: Config) -> int:
    """CPUs of each worker, once the cluster has enough of them for all.

    Raises:
        UserError: after `scaling.resource_wait_s` on a cluster that may still grow, at once on a
            local one; says what was asked and what is there.
    """
    scaling = config.scaling
    deadline = time.monotonic() + (scaling.resource_wait_s if os.environ.get("RAY_ADDRESS") else 0)
    while True:
        have = ray.cluster_resources()
        cpus = scaling.cpus_per_worker or max(1, int(have.get("CPU", 0)) // scaling.num_workers)
        short = [
            f"{need:g} {name}s asked, {have.get(name, 0):g} there"
            for name, need in (
                ("CPU", cpus * scaling.num_workers),
                ("GPU", scaling.num_workers if scaling.use_gpu else 0),
            )
            if have.get(name, 0) < need
        ]
        if not short:
            return cpus
        if time.monotonic() >= deadline:
            waited = (
                f"waited {scaling.resource_wait_s:g} s"
                if os.environ.get("RAY_ADDRESS")
                else ("a local Ray does not grow")
            )
            raise UserError(
                f"scaling.num_workers: {scaling.num_workers} workers do not fit the cluster "
                f"({'; '.join(short)}; {waited}); lower num_workers or cpus_per_worker"
            )
        time.sleep(1)
