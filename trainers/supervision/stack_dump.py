"""Stack dumps of workers that hang, and their end."""

import os
import signal
import time
from pathlib import Path

import ray
import ray.train
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from trainers.supervision.message_board import WorkerLocation

STACKS_S = 1.5


def end_workers(places: list[WorkerLocation]) -> None:
    """Let workers write down their stacks, then end them, whatever they hang in."""
    refs = []
    for node_id in sorted({place.node_id for place in places}):
        pids = [place.pid for place in places if place.node_id == node_id]
        here = NodeAffinitySchedulingStrategy(node_id, soft=False)
        task = ray.remote(num_cpus=0, max_retries=0)(_end)
        refs.append(task.options(scheduling_strategy=here).remote(pids))
    ray.wait(refs, num_returns=len(refs), timeout=30)


def _end(pids: list[int]) -> None:
    import signal

    for pid in pids:
        os.kill(pid, STACKS_SIGNAL)
    time.sleep(STACKS_S)
    for pid in pids:
        os.kill(pid, signal.SIGKILL)


def remove_empty_stacks(run_dir: Path) -> None:
    """Delete the stack files of workers that were never asked."""
    for path in (run_dir / "stacks").glob("*.txt"):
        if path.stat().st_size == 0:
            path.unlink(missing_ok=True)


# With it the driver asks a worker that hangs where it is.
STACKS_SIGNAL = signal.SIGUSR2


def stacks_file(run_dir: Path, name: str) -> Path:
    """Where a worker writes what its threads are at, when it is asked."""
    path = run_dir / "stacks" / f"{name}.txt"
    path.parent.mkdir(parents=True, exist_ok=True)
    return path
