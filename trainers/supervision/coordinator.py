"""The coordinator of an attempt: an actor that collects heartbeats and hands out the command.

coordinator = start_coordinator(); read_status(coordinator)
"""

from typing import Any

import ray
from ray.exceptions import GetTimeoutError, RayActorError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from trainers.supervision.protocol import Command, WorkerError, WorkerLocation, WorkerStatus

READ_LIMIT_S = 5.0


class Coordinator:
    """The actor's class; see protocol.py."""

    def __init__(self) -> None:
        self._status, self._command = WorkerStatus(), Command.CONTINUE

    def heartbeat(self, progress: dict[str, Any]) -> Command:
        """Count a heartbeat; only rank 0 sends its progress, the others an empty dict."""
        self._status.num_heartbeats += 1
        if progress:
            self._status.progress = progress
        return self._command

    def register(self, location: WorkerLocation) -> None:
        """Record where a worker runs."""
        self._status.locations[location.rank] = location

    def record_error(self, error: WorkerError) -> None:
        """Record the exception that ends a worker."""
        self._status.errors.append(error)

    def record_exit(self) -> None:
        """Record that a worker exited because it was commanded to."""
        self._status.exited_on_command = True

    def command(self, command: Command) -> None:
        """Let `command` apply from now on, unless a greater one does."""
        self._command = max(self._command, command)

    def status(self) -> WorkerStatus:
        """Everything reported so far."""
        return self._status


def start_coordinator() -> Any:
    """Start the actor on the driver's node; it ends with the driver."""
    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    return ray.remote(Coordinator).options(num_cpus=0, scheduling_strategy=here).remote()


def read_status(coordinator: Any) -> WorkerStatus | None:
    """The workers' status; None if the coordinator does not answer within 5 s."""
    try:
        status: WorkerStatus = ray.get(coordinator.status.remote(), timeout=READ_LIMIT_S)
    except (RayActorError, GetTimeoutError):
        return None
    return status
