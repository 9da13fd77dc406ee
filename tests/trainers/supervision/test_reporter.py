"""Workers that generate replies together exit together: two real processes over gloo."""

import multiprocessing as mp
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import torch.distributed as dist

from trainers.supervision import reporter as reporter_module
from trainers.supervision.protocol import Command
from trainers.supervision.reporter import Preempted, WorkerReporter

LIMIT_S = 300


def generate(rank: int, rendezvous: str, exit_at: dict[int, int], queue: Any) -> None:
    """Reply to three rows; `exit_at`: at which row a rank receives the command to exit."""
    reporter_module.HEARTBEAT_S = 0
    dist.init_process_group(
        "gloo", init_method=rendezvous, rank=rank, world_size=2, timeout=timedelta(seconds=LIMIT_S)
    )
    num_replies = 0

    def report(progress: dict[str, Any]) -> Command:
        return Command.SAVE_AND_EXIT if num_replies == exit_at.get(rank) else Command.CONTINUE

    reporter = WorkerReporter(report, rank=rank, world_size=2)
    reporter.generating("base", 3)
    try:
        with reporter.all_or_none():
            while num_replies < 3:
                reporter.replied(1)
                num_replies += 1
    except Preempted:
        queue.put((rank, num_replies, True))
    else:
        queue.put((rank, num_replies, False))
    dist.barrier()  # neither rank hangs in a collective without the other


@pytest.mark.parametrize(
    ("exit_at", "expected"),
    [
        ({0: 1}, [(0, 1, True), (1, 3, True)]),
        ({1: 0}, [(0, 3, True), (1, 0, True)]),
        ({0: 2, 1: 2}, [(0, 2, True), (1, 2, True)]),
        ({}, [(0, 3, False), (1, 3, False)]),
    ],
)
def test_if_one_worker_is_commanded_to_exit_all_do(
    tmp_path: Path, exit_at: dict[int, int], expected: list[tuple[int, int, bool]]
) -> None:
    context = mp.get_context("spawn")
    queue = context.Queue()
    rendezvous = f"file://{tmp_path / 'rendezvous'}"
    workers = [
        context.Process(target=generate, args=(rank, rendezvous, exit_at, queue))
        for rank in range(2)
    ]
    for worker in workers:
        worker.start()
    found = sorted(queue.get(timeout=LIMIT_S) for _ in workers)
    for worker in workers:
        worker.join(LIMIT_S)
    assert found == expected and [worker.exitcode for worker in workers] == [0, 0]
