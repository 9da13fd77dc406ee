"""Workers that answer together leave together: two real processes over gloo."""

import multiprocessing as mp
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import torch.distributed as dist

from trainers.supervision import reporter as progress_module
from trainers.supervision.orders import Command
from trainers.supervision.reporter import Preempted, WorkerReporter

LIMIT_S = 60


def answer(rank: int, meet: str, heard: dict[int, int], queue: Any) -> None:
    """Answer three rows; `heard`: at which row a rank hears that it is to leave."""
    progress_module.TELL_EVERY_S = 0
    dist.init_process_group(
        "gloo", init_method=meet, rank=rank, world_size=2, timeout=timedelta(seconds=LIMIT_S)
    )
    answered = 0

    def tell(state: dict[str, Any]) -> Command:
        return Command.SAVE_AND_LEAVE if answered == heard.get(rank) else Command.GO_ON

    progress = WorkerReporter(tell, rank=rank, world_size=2)
    progress.answering("base", 3)
    try:
        with progress.together():
            while answered < 3:
                progress.answered(1)
                answered += 1
    except Preempted:
        queue.put((rank, answered, True))
    else:
        queue.put((rank, answered, False))
    dist.barrier()  # both are here, none hangs in a message to the other


@pytest.mark.parametrize(
    ("heard", "expected"),
    [
        ({0: 1}, [(0, 1, True), (1, 3, True)]),
        ({1: 0}, [(0, 3, True), (1, 0, True)]),
        ({0: 2, 1: 2}, [(0, 2, True), (1, 2, True)]),
        ({}, [(0, 3, False), (1, 3, False)]),
    ],
)
def test_where_one_worker_is_told_to_leave_all_do(
    tmp_path: Path, heard: dict[int, int], expected: list[tuple[int, int, bool]]
) -> None:
    context = mp.get_context("spawn")
    queue = context.Queue()
    meet = f"file://{tmp_path / 'meet'}"
    workers = [context.Process(target=answer, args=(rank, meet, heard, queue)) for rank in range(2)]
    for worker in workers:
        worker.start()
    found = sorted(queue.get(timeout=LIMIT_S) for _ in workers)
    for worker in workers:
        worker.join(LIMIT_S)
    assert found == expected and [worker.exitcode for worker in workers] == [0, 0]
