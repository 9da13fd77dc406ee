"""What workers and driver say to each other: heartbeats go up, a command comes down.

    worker  -> WorkerLocation    once: node, host and process
    worker  -> heartbeat         {"phase": "train", "step": 40, "total_steps": 200, "loss": 0.31}
    worker  -> WorkerError       an exception, before it ends the worker
    driver  -> Command           the answer to each heartbeat

On Ray they meet in the coordinator (coordinator.py); in tests any function is a `Report`. Imports
neither torch nor Ray.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any


class Command(IntEnum):
    """What the driver wants of the workers; of two commands the greater one applies."""

    CONTINUE = 0
    EXIT_AFTER_SAVE = 1
    SAVE_AND_EXIT = 2


# Takes a worker's progress, returns the command that applies.
Report = Callable[[dict[str, Any]], Command]


def no_op_report(progress: dict[str, Any]) -> Command:
    """The `Report` of a worker without a driver."""
    return Command.CONTINUE


@dataclass(frozen=True)
class WorkerLocation:
    """Where a worker runs."""

    rank: int
    node_id: str
    host: str
    pid: int


@dataclass(frozen=True)
class WorkerError:
    """An exception of a worker.

    Attributes:
        kind: "user", "storage", "memory", "peer" (another worker was lost) or "error".
        signature: equal for equal exceptions; the hash of the traceback.
    """

    rank: int
    kind: str
    message: str
    traceback: str
    signature: str


@dataclass
class WorkerStatus:
    """Everything the workers of an attempt have reported; `progress` is rank 0's."""

    num_heartbeats: int = 0
    progress: dict[str, Any] = field(default_factory=lambda: {"phase": "start workers"})
    locations: dict[int, WorkerLocation] = field(default_factory=dict)
    errors: list[WorkerError] = field(default_factory=list)
    exited_on_command: bool = False

    @property
    def first_error(self) -> WorkerError | None:
        """The first exception that is not merely the loss of another worker."""
        return next((error for error in self.errors if error.kind != "peer"), None)
