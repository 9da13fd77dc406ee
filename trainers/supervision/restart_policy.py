"""How an attempt ended, and whether another may do better; keeps faults.jsonl."""

import time
from dataclasses import dataclass
from typing import Literal

import ray
import ray.train

from datasets_src.errors import UserError
from trainers.process.signals import RunFailed
from trainers.run.location import RunLocation
from trainers.storage.json_files import append_jsonl
from trainers.supervision.message_board import WorkerError, WorkerStatus


@dataclass(frozen=True)
class AttemptResult:
    """How an attempt ended: the plan is done, workers left as told, or something failed.

    `word` is what the workers had said by then, `error` what Ray Train made of it.
    """

    kind: Literal["finished", "left", "failed"]
    attempt: str
    why: str
    word: WorkerStatus
    error: BaseException | None = None

    @property
    def fault(self) -> WorkerError | None:
        """The first exception that is not merely that another worker went away."""
        return next((f for f in self.word.faults if f.kind != "peer"), None)


FAULTS = "faults.jsonl"


class RestartPolicy:
    """Decides whether a failed attempt is tried again; keeps faults.jsonl."""

    def __init__(self, home: RunLocation, max_failures: int) -> None:
        self._home, self._run_dir, self._max_failures = home, home.run_dir, max_failures
        self._seen: set[str] = set()
        self._num, self._step = 0, home.newest_step()

    def judge(self, ending: AttemptResult, num_workers: int) -> None:
        """Return if another attempt may do better.

        Raises:
            UserError, RunFailed: what would fail again, with what to do.
        """
        step, fault = self._home.newest_step(), ending.fault
        self._record(ending, step, num_workers)
        if fault is not None and fault.kind == "user":
            raise UserError(*fault.message.split("\n"))
        if fault is not None and fault.kind == "storage":
            raise UserError(
                f"output_dir: {self._run_dir} is full ({fault.message}); free some space; the same "
                f"command goes on after step {step}"
            )
        if who := out_of_memory(ending):
            raise UserError(
                f"{who} ran out of memory; lower train.max_tokens_per_micro_batch, "
                f"eval.eval_batch_size or scaling.num_workers; the same command goes on after "
                f"step {step}"
            )
        if step > self._step:  # what came before did not keep the run from going on
            self._seen.clear()
            self._num, self._step = 0, step
        if fault is not None and fault.signature in self._seen:
            raise RunFailed(
                f"worker {fault.rank} failed twice in the same way: {fault.message}; its traceback "
                f"is in {self._run_dir / FAULTS}; checkpoint of step {step} stands"
            )
        if fault is not None:
            self._seen.add(fault.signature)
        self._num += 1
        if self._num > self._max_failures:
            raise RunFailed(
                f"the workers failed {self._num} times after step {step} (scaling.max_failures: "
                f"{self._max_failures}); last: {ending.why}"
            )
        time.sleep(min(self._num - 1, 10))

    def _record(self, ending: AttemptResult, step: int, num_workers: int) -> None:
        fault = ending.fault
        append_jsonl(
            self._run_dir / FAULTS,
            {
                "at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
                "attempt": ending.attempt,
                "num_workers": num_workers,
                "checkpoint_step": step,
                "why": ending.why,
                "rank": None if fault is None else fault.rank,
                "traceback": None if fault is None else fault.traceback,
            },
        )


def out_of_memory(ending: AttemptResult) -> str | None:
    """The worker that had too little memory, and where; None if it was something else."""
    places = ending.word.places
    if (fault := ending.fault) is not None:
        ranks = [fault.rank] if fault.kind == "memory" else []
    else:
        failures: dict[int, Exception] = getattr(ending.error, "worker_failures", {})
        # Ray's memory monitor ends a process when the node is nearly full.
        ranks = [
            rank
            for rank, error in failures.items()
            if isinstance(error, ray.exceptions.OutOfMemoryError)
            or "running low on memory" in str(error)
        ]
    told = (f"worker {r}" + (f" on {places[r].host}" if r in places else "") for r in ranks)
    return ", ".join(told) or None
