"""How an attempt ended, and whether another one may succeed; writes faults.jsonl.

policy = RestartPolicy(location, max_failures=3)
policy.check(attempt_result("a1b2c3", status, error=error, reason=None), num_workers=2)
"""

import time
from dataclasses import dataclass
from typing import Literal

import ray

from datasets_src.errors import UserError
from trainers.process.machine import utc_now
from trainers.process.signals import RunFailed
from trainers.run.location import RunLocation
from trainers.storage.json_files import append_jsonl
from trainers.supervision.protocol import WorkerError, WorkerStatus

FAULTS = "faults.jsonl"
MAX_BACKOFF_S = 10


@dataclass(frozen=True)
class AttemptResult:
    """How an attempt ended.

    Attributes:
        kind: the plan is done, the workers exited as commanded, or something failed.
        reason: of the command or of the failure, in one line.
        status: what the workers had reported by then.
        error: what Ray Train raised.
    """

    kind: Literal["finished", "preempted", "failed"]
    attempt: str
    reason: str
    status: WorkerStatus
    error: BaseException | None = None


def attempt_result(
    attempt: str, status: WorkerStatus, *, error: BaseException | None, reason: str | None
) -> AttemptResult:
    """The result of an ended attempt; `reason` is the monitor's, if it commanded an exit."""
    if status.exited_on_command:
        return AttemptResult("preempted", attempt, reason or "commanded to exit", status, error)
    if error is None:
        return AttemptResult("finished", attempt, "", status)
    first = status.first_error
    failure = reason or (_one_line(error) if first is None else first.message)
    return AttemptResult("failed", attempt, failure, status, error)


def _one_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {' '.join(lines[:3])[:300]}"


class RestartPolicy:
    """Decides whether a failed attempt is followed by another; writes faults.jsonl."""

    def __init__(self, location: RunLocation, max_failures: int) -> None:
        self._location, self._run_dir = location, location.run_dir
        self._max_failures = max_failures
        self._seen: set[str] = set()
        self._num_failures, self._step = 0, location.newest_step()

    def check(self, result: AttemptResult, num_workers: int) -> None:
        """Return, after a backoff, if another attempt may succeed.

        Raises:
            UserError, RunFailed: another attempt would fail again; with the remedy.
        """
        step, error = self._location.newest_step(), result.status.first_error
        self._record(result, error, step, num_workers)
        self._refuse_user_errors(result, error, step)
        if step > self._step:  # there was progress in between: earlier failures do not count
            self._seen.clear()
            self._num_failures, self._step = 0, step
        if error is not None and error.signature in self._seen:
            raise RunFailed(
                f"worker {error.rank} failed twice with the same exception: {error.message}; "
                f"traceback in {self._run_dir / FAULTS}; the checkpoint of step {step} is kept"
            )
        if error is not None:
            self._seen.add(error.signature)
        self._num_failures += 1
        if self._num_failures > self._max_failures:
            raise RunFailed(
                f"{self._num_failures} failed attempts since step {step} (scaling.max_failures: "
                f"{self._max_failures}); last: {result.reason}"
            )
        time.sleep(min(self._num_failures - 1, MAX_BACKOFF_S))

    def _refuse_user_errors(
        self, result: AttemptResult, error: WorkerError | None, step: int
    ) -> None:
        resume = f"then run the same command to resume from step {step}"
        if error is not None and error.kind == "user":
            raise UserError(*error.message.split("\n"))
        if error is not None and error.kind == "storage":
            raise UserError(
                f"output_dir: {self._run_dir} is full ({error.message}); free some space, {resume}"
            )
        if workers := workers_out_of_memory(result):
            raise UserError(
                f"{workers} ran out of memory; lower train.max_tokens_per_micro_batch, "
                f"eval.eval_batch_size or scaling.num_workers, {resume}"
            )

    def _record(
        self, result: AttemptResult, error: WorkerError | None, step: int, num_workers: int
    ) -> None:
        append_jsonl(
            self._run_dir / FAULTS,
            {
                "at": utc_now(),
                "attempt": result.attempt,
                "num_workers": num_workers,
                "checkpoint_step": step,
                "why": result.reason,
                "rank": None if error is None else error.rank,
                "traceback": None if error is None else error.traceback,
            },
        )


def workers_out_of_memory(result: AttemptResult) -> str | None:
    """The workers that ran out of memory, with their hosts; None if none did."""
    locations = result.status.locations
    if (error := result.status.first_error) is not None:
        ranks = [error.rank] if error.kind == "memory" else []
    else:
        failures: dict[int, Exception] = getattr(result.error, "worker_failures", {})
        # Ray's memory monitor kills a process when the node is nearly full.
        ranks = [
            rank
            for rank, failure in failures.items()
            if isinstance(failure, ray.exceptions.OutOfMemoryError)
            or "running low on memory" in str(failure)
        ]
    names = (f"worker {r}" + (f" on {locations[r].host}" if r in locations else "") for r in ranks)
    return ", ".join(names) or None
