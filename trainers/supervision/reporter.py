"""A worker's side of the protocol: sends heartbeats with its progress, receives the command.

reporter = WorkerReporter(report, rank=0, world_size=2)
reporter.step_done(40, 200, 0.31)       # {"phase": "train", "step": 40, "total_steps": 200, ...}
reporter.agreed_command()               # Command.CONTINUE, the same on every rank
"""

import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import nn

from datasets_src.types import Score
from trainers.supervision.protocol import Command, Report

HEARTBEAT_S = 0.5
Item = TypeVar("Item")


class Preempted(Exception):
    """The worker was commanded to exit before the plan's end; everything is saved."""


class WorkerReporter:
    """Exchanges progress for a command, at most every HEARTBEAT_S."""

    def __init__(self, report: Report, *, rank: int, world_size: int) -> None:
        self._report, self._rank, self._world_size = report, rank, world_size
        self._progress: dict[str, Any] = {"phase": "load"}
        self._sent = 0.0
        self.command = Command.CONTINUE
        self._heartbeat(force=True)

    def model_built(self, model: nn.Module, dtype: torch.dtype) -> None:
        """The model is built: report its size and compute dtype."""
        sizes = [(p.numel(), p.requires_grad) for p in model.parameters()]
        self._progress["dtype"] = str(dtype).removeprefix("torch.")
        self._progress["num_parameters"] = sum(n for n, _ in sizes)
        self._progress["num_trainable_parameters"] = sum(n for n, trained in sizes if trained)
        self._heartbeat(force=True)

    def each(self, batches: Iterable[Item]) -> Iterator[Item]:
        """Pass the micro-batches through; a heartbeat for each one that is requested."""
        for batch in batches:
            self._heartbeat(force=False)
            yield batch

    def step_done(self, step: int, total_steps: int, loss: float) -> None:
        """An optimizer step is done."""
        self._progress |= {
            "phase": "train",
            "step": step,
            "total_steps": total_steps,
            "loss": loss,
        }
        self._heartbeat(force=step == total_steps)

    def agreed_command(self) -> Command:
        """The greatest command that any rank has received; collective (all-reduce)."""
        if self._world_size > 1:
            command = torch.tensor(int(self.command))
            dist.all_reduce(command, dist.ReduceOp.MAX)
            self.command = Command(int(command))
        return self.command

    def saving(self, step: int) -> None:
        """A checkpoint is being written."""
        self._progress |= {"phase": f"save step {step}"}
        self._heartbeat(force=True)

    def generating(self, name: str, num_rows: int) -> None:
        """Replies are being generated for the score `name`."""
        self._progress |= {"phase": f"answer {name}", "done": 0, "rows": num_rows}
        self._heartbeat(force=True)

    @contextmanager
    def all_or_none(self) -> Iterator[None]:
        """Around a worker's share of the replies: if one rank exits, all do; collective.

        Otherwise the others would wait for its replies: a lost connection is noticed late or never.

        Raises:
            Preempted: as `replied` does, on every rank.
        """
        try:
            yield
        except Preempted:
            self.agreed_command()
            raise
        if self.agreed_command() == Command.SAVE_AND_EXIT:
            raise Preempted

    def replied(self, num_rows: int) -> None:
        """This worker has generated `num_rows` more replies.

        Raises:
            Preempted: the command is to exit; the checkpoint is saved already, and its replies are
                generated again after the restart.
        """
        self._progress["done"] += num_rows
        self._heartbeat(force=False)
        if self.command == Command.SAVE_AND_EXIT:
            raise Preempted

    def scored(self, score: Score) -> None:
        """A score was recorded; the driver reads it from scores.jsonl."""
        self._progress |= {"phase": f"scored {score.name}"}
        self._heartbeat(force=True)

    def _heartbeat(self, *, force: bool) -> None:
        now = time.monotonic()
        if force or now - self._sent > HEARTBEAT_S:
            self._sent = now
            progress = dict(self._progress) if self._rank == 0 else {}
            self.command = max(self.command, self._report(progress))
