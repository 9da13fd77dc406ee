"""A worker's exception as the driver gets it: classified, with traceback and signature.

with ErrorReporter(coordinator, rank=0): ...      # reports what ends the block, and re-raises it
"""

import errno
import hashlib
import os
import traceback
from typing import Any

import ray

from datasets_src.errors import UserError
from trainers.supervision.protocol import WorkerError


class ErrorReporter:
    """Reports the exception that ends the block to the coordinator."""

    def __init__(self, coordinator: Any, *, rank: int) -> None:
        self._coordinator, self._rank = coordinator, rank

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, Exception):
            ray.get(self._coordinator.record_error.remote(describe_error(error, rank=self._rank)))


def describe_error(error: Exception, *, rank: int) -> WorkerError:
    """The exception with its kind and a signature that is equal for equal tracebacks."""
    text = "".join(traceback.format_exception(error))
    frames = traceback.extract_tb(error.__traceback__)
    message = str(error) if isinstance(error, UserError) else f"{type(error).__name__}: {error}"
    return WorkerError(
        rank=rank,
        kind=_kind(error, [frame.filename for frame in frames]),
        message=message,
        traceback=text,
        signature=hashlib.sha256(text.encode()).hexdigest(),
    )


def _kind(error: Exception, files: list[str]) -> str:
    from trainers.step.train_step import NonFiniteError

    if isinstance(error, UserError | NonFiniteError):
        return "user"
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return "storage"
    # On CPU torch reports a failed allocation as a plain RuntimeError.
    out_of_memory = "out of memory" in str(error) or "can't allocate memory" in str(error)
    if isinstance(error, MemoryError) or out_of_memory:
        return "memory"
    lost = isinstance(error, ray.exceptions.RayError)
    if lost or any(f"torch{os.sep}distributed" in file for file in files):
        return "peer"
    return "error"
