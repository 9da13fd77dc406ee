"""What a worker tells of itself, and the order that it gets back.

progress = WorkerReporter(tell, rank=0)
progress.trained(40, 200, 0.31)         # {"phase": "train", "step": 40, "total_steps": 200, ...}
progress.order                          # Order.GO_ON

`tell` takes rank 0's state (the other ranks only say that they are alive) and answers with the
order that stands; on Ray it is a message to the board (message_board.py), in a test any function.
"""

import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import nn

from datasets_src.types import Score
from trainers.supervision.orders import Command, Report

TELL_EVERY_S = 0.5
Item = TypeVar("Item")


class Preempted(Exception):
    """A worker leaves before the plan's end, because it was ordered to; all is saved."""


class WorkerReporter:
    """A worker's state and its order, exchanged at most a few times a second."""

    def __init__(self, tell: Report, *, rank: int, world_size: int) -> None:
        self._tell, self._rank, self._world_size = tell, rank, world_size
        self._state: dict[str, Any] = {"phase": "load"}
        self._told = 0.0
        self.order = Command.GO_ON
        self._exchange(force=True)

    def built(self, model: nn.Module, dtype: torch.dtype) -> None:
        """The model stands; its size is known, and the type it computes in."""
        sizes = [(p.numel(), p.requires_grad) for p in model.parameters()]
        self._state["dtype"] = str(dtype).removeprefix("torch.")
        self._state["num_parameters"] = sum(n for n, _ in sizes)
        self._state["num_trainable_parameters"] = sum(n for n, trained in sizes if trained)
        self._exchange(force=True)

    def while_taking(self, batches: Iterable[Item]) -> Iterator[Item]:
        """The same micro-batches; each one that is asked for is a sign of life."""
        for batch in batches:
            self._exchange(force=False)
            yield batch

    def trained(self, step: int, total_steps: int, loss: float) -> None:
        """Another step is done."""
        self._state |= {"phase": "train", "step": step, "total_steps": total_steps, "loss": loss}
        self._exchange(force=step == total_steps)

    def agreed(self) -> Command:
        """The greatest order that any worker has heard; collective."""
        if self._world_size > 1:
            order = torch.tensor(int(self.order))
            dist.all_reduce(order, dist.ReduceOp.MAX)
            self.order = Command(int(order))
        return self.order

    def saving(self, step: int) -> None:
        """A checkpoint is being written."""
        self._state |= {"phase": f"save step {step}"}
        self._exchange(force=True)

    def answering(self, name: str, num_rows: int) -> None:
        """Replies are generated for a checkpoint."""
        self._state |= {"phase": f"answer {name}", "done": 0, "rows": num_rows}
        self._exchange(force=True)

    @contextmanager
    def together(self) -> Iterator[None]:
        """Around a worker's share of the answers: where one leaves, all do; collective.

        Else the others would wait for its replies: that its connections end is noticed late, or
        never.

        Raises:
            Left: as `answered` does, on every worker.
        """
        try:
            yield
        except Preempted:
            self.agreed()
            raise
        if self.agreed() == Command.SAVE_AND_LEAVE:
            raise Preempted

    def answered(self, num_rows: int) -> None:
        """So many more replies of this worker are there.

        Raises:
            Left: to leave is ordered; the checkpoint that is answered for is saved, and answers
                are made again.
        """
        self._state["done"] += num_rows
        self._exchange(force=False)
        if self.order == Command.SAVE_AND_LEAVE:
            raise Preempted

    def scored(self, score: Score) -> None:
        """A score was recorded; the driver reads it from scores.jsonl."""
        self._state |= {"phase": f"scored {score.name}"}
        self._exchange(force=True)

    def _exchange(self, *, force: bool) -> None:
        now = time.monotonic()
        if force or now - self._told > TELL_EVERY_S:
            self._told = now
            self.order = max(self.order, self._tell(dict(self._state) if self._rank == 0 else {}))
