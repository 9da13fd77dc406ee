"""Ray Train from the driver's side: one run of it is one attempt.

with ray_train_run(work, worker_config, config=config, num_workers=2, cpus=4) as fitting:
    while not fitting.wait(0.5): ...      # fitting.error: what Ray Train raised

What a restart needs is in our checkpoint store: Ray stores no checkpoint of ours, and its own index
of them is deleted with the attempt.
"""

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import ray
import ray.train
from ray.train.torch import TorchConfig, TorchTrainer
from ray.util.placement_group import PlacementGroup, remove_placement_group

from trainers.config.schema import Config
from trainers.process.background import Background
from trainers.supervision.ray_internals import make_trainer, usable


@contextmanager
def ray_train_run(
    work: Callable[[dict[str, Any]], None],
    worker_config: dict[str, Any],
    *,
    config: Config,
    num_workers: int,
    cpus: int,
) -> Iterator[Background]:
    """Run `work` on `num_workers` workers in the background; at exit nothing of it is left."""
    groups = placement_groups()
    scratch = Path(tempfile.mkdtemp(prefix="gallipato-ray-"))
    try:
        trainer = _trainer(
            work, worker_config, config=config, num_workers=num_workers, cpus=cpus, scratch=scratch
        )
        yield Background(trainer.fit)
    finally:
        # Ray Train leaves them if its controller dies, or a worker while the group is being made.
        for group in placement_groups() - groups:
            remove_placement_group(PlacementGroup(ray.PlacementGroupID(bytes.fromhex(group))))
        shutil.rmtree(scratch, ignore_errors=True)


def _trainer(
    work: Callable[[dict[str, Any]], None],
    worker_config: dict[str, Any],
    *,
    config: Config,
    num_workers: int,
    cpus: int,
    scratch: Path,
) -> TorchTrainer:
    """Ray Train without restarts of its own: the driver restarts, as it knows the reason."""
    # Ray's own watcher restarts workers before they have saved; the monitor lets them save first.
    os.environ["RAY_TRAIN_ENABLE_PREEMPTION_WATCHER"] = "0" if usable() else "1"
    # Seconds until a dead worker is noticed.
    os.environ.setdefault("RAY_TRAIN_HEALTH_CHECK_INTERVAL_S", "1")
    gpu = config.scaling.use_gpu
    return make_trainer(
        train_loop_per_worker=work,
        train_loop_config=worker_config,
        scaling_config=ray.train.ScalingConfig(
            num_workers=num_workers,
            use_gpu=gpu,
            resources_per_worker={"CPU": cpus} | ({"GPU": 1} if gpu else {}),
        ),
        # Gradients are all-reduced by NCCL on GPUs; objects (file names, replies) by gloo.
        torch_config=TorchConfig("cpu:gloo,cuda:nccl" if gpu else "gloo"),
        run_config=ray.train.RunConfig(
            name=worker_config["attempt"],
            storage_path=str(scratch),
            failure_config=ray.train.FailureConfig(max_failures=0),
        ),
    )


def placement_groups() -> set[str]:
    """Ids of this job's placement groups that hold or wait for resources."""
    job = ray.get_runtime_context().get_job_id()
    table = ray.util.placement_group_table()
    # An id ends with that of its job.
    return {id for id, group in table.items() if id.endswith(job) and group["state"] != "REMOVED"}
