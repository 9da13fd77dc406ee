"""The board of one attempt: a Ray actor beside the driver, where workers and driver leave word.

    workers  ->  beats (here I am, this far), places (node, process), faults
    driver   ->  the order that stands (orders.py)

board = start_coordinator(); ray.get(board.read.remote())
"""

from dataclasses import dataclass, field
from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from trainers.supervision.orders import Command


@dataclass(frozen=True)
class WorkerLocation:
    """Where a worker runs."""

    rank: int
    node_id: str
    host: str
    pid: int


@dataclass(frozen=True)
class WorkerError:
    """An exception of a worker. `kind`: user, storage, memory, peer (another worker went away) or
    error; `signature` is equal for equal faults."""

    rank: int
    kind: str
    message: str
    traceback: str
    signature: str


@dataclass
class WorkerStatus:
    """All that workers have said."""

    num_beats: int = 0
    state: dict[str, Any] = field(default_factory=lambda: {"phase": "start workers"})
    places: dict[int, WorkerLocation] = field(default_factory=dict)
    faults: list[WorkerError] = field(default_factory=list)
    left: bool = False


class Coordinator:
    """The actor's class."""

    def __init__(self) -> None:
        self._word, self._order = WorkerStatus(), Command.GO_ON

    def beat(self, state: dict[str, Any]) -> Command:
        """Note that a worker got further; rank 0 says how far."""
        self._word.num_beats += 1
        if state:
            self._word.state = state
        return self._order

    def place(self, place: WorkerLocation) -> None:
        """Note where a worker runs."""
        self._word.places[place.rank] = place

    def fault(self, fault: WorkerError) -> None:
        """Note what ended a worker."""
        self._word.faults.append(fault)

    def leave(self) -> None:
        """Note that a worker left as it was ordered to."""
        self._word.left = True

    def order(self, order: Command) -> None:
        """Let `order` stand from now on, unless a greater one does."""
        self._order = max(self._order, order)

    def read(self) -> WorkerStatus:
        """All that was said so far."""
        return self._word


def start_coordinator() -> Any:
    """A board in a process of its own on the driver's node; it ends with the driver."""
    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    return ray.remote(Coordinator).options(num_cpus=0, scheduling_strategy=here).remote()
