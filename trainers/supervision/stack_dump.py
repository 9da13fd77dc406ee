"""Stack dumps of hung workers: each worker registers a signal, the driver sends it, then kills.

with stack_dump_on_signal(run_dir, "a1b2c3-rank0"): ...      # in the worker
dump_stacks_and_kill(locations)                              # in the driver
"""

import faulthandler
import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from trainers.supervision.protocol import WorkerLocation

DUMP_SIGNAL = signal.SIGUSR2
DUMP_S = 1.5


@contextmanager
def stack_dump_on_signal(run_dir: Path, name: str) -> Iterator[None]:
    """Inside, DUMP_SIGNAL writes the stacks of all threads to `stacks/<name>.txt`."""
    path = run_dir / "stacks" / f"{name}.txt"
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        faulthandler.register(DUMP_SIGNAL, file, all_threads=True)
        try:
            yield
        finally:
            faulthandler.unregister(DUMP_SIGNAL)


def dump_stacks_and_kill(locations: list[WorkerLocation]) -> None:
    """Have the workers dump their stacks, then SIGKILL them, whatever call they hang in."""
    tasks = []
    for node_id in sorted({location.node_id for location in locations}):
        pids = [location.pid for location in locations if location.node_id == node_id]
        on_node = NodeAffinitySchedulingStrategy(node_id, soft=False)
        task = ray.remote(num_cpus=0, max_retries=0)(_dump_and_kill)
        tasks.append(task.options(scheduling_strategy=on_node).remote(pids))
    ray.wait(tasks, num_returns=len(tasks), timeout=30)


def _dump_and_kill(pids: list[int]) -> None:
    for pid in pids:
        os.kill(pid, DUMP_SIGNAL)
    time.sleep(DUMP_S)
    for pid in pids:
        os.kill(pid, signal.SIGKILL)


def remove_empty_dumps(run_dir: Path) -> None:
    """Delete the files of workers that never got the signal."""
    for path in (run_dir / "stacks").glob("*.txt"):
        if path.stat().st_size == 0:
            path.unlink(missing_ok=True)
