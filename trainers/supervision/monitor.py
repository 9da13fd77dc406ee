"""What the driver looks for while workers train, and what it then commands.

a signal to stop, a drained node        ->  save a checkpoint now, and exit
resources for more workers (elastic)    ->  exit after the next save; an autoscaling cluster is
                                            asked for them first
no heartbeat for hang_factor x median   ->  dump all stacks, kill the workers
no answer from the head node            ->  HeadNodeMonitor (head_node.py)
"""

import time
from statistics import median
from typing import Any

from trainers.config.schema import Config
from trainers.process.signals import StopSignal
from trainers.supervision.head_node import answers, head_address
from trainers.supervision.protocol import Command, WorkerStatus
from trainers.supervision.ray_internals import draining_nodes
from trainers.supervision.resources import (
    ResourceRequest,
    free_resources,
    is_cluster,
    num_fitting_workers,
)
from trainers.supervision.stack_dump import dump_stacks_and_kill

CLUSTER_CHECK_S = 1.0
GROW_CHECK_S = 5.0


class Monitor:
    """Watches one attempt until it ends; `reason` is why its workers were commanded to exit."""

    def __init__(
        self, config: Config, coordinator: Any, *, world_size: int, cpus: int, stop: StopSignal
    ) -> None:
        self._scaling, self._coordinator, self._stop = config.scaling, coordinator, stop
        self._world_size, self._cpus = world_size, cpus
        self._cluster_checked = self._grow_checked = time.monotonic()
        self._head = head_address()
        self._hang = HangDetector(factor=self._scaling.hang_factor, min_s=self._scaling.hang_min_s)
        self.reason: str | None = None
        self._command = Command.CONTINUE
        self._request = ResourceRequest()

    def close(self) -> None:
        """The attempt has ended: withdraw the request for more resources."""
        self._request.withdraw()

    def check(self, status: WorkerStatus) -> None:
        """One round; the cluster is queried at most once a second.

        Raises:
            RunFailed: the lease is lost.
        """
        self._stop.raise_if_lost()
        if self._stop.signum is not None:
            self._send(Command.SAVE_AND_EXIT, "a signal to stop")
        now = time.monotonic()
        if self._hang.is_hung(status.num_heartbeats, now=now):
            self._kill_hung(status, now)
        if now - self._cluster_checked > CLUSTER_CHECK_S:
            self._cluster_checked = now
            self._check_cluster(status, now)

    def _check_cluster(self, status: WorkerStatus, now: float) -> None:
        if not answers(self._head):
            return  # a query would block until the head is back; HeadNodeMonitor counts the time
        drained = {loc.node_id for loc in status.locations.values()} & draining_nodes()
        if drained:
            hosts = {loc.host for loc in status.locations.values() if loc.node_id in drained}
            self._send(Command.SAVE_AND_EXIT, f"{', '.join(sorted(hosts))} is being drained")
        missing = self._scaling.max_workers - self._world_size
        if missing > 0 and now - self._grow_checked > GROW_CHECK_S:
            self._grow_checked = now
            more = min(missing, num_fitting_workers(self._scaling, free_resources(), self._cpus))
            if not more and is_cluster() and self._request.ask(self._scaling, missing, self._cpus):
                more = missing
            if more:
                self._send(Command.EXIT_AFTER_SAVE, f"resources for {more} more workers are free")

    def _send(self, command: Command, reason: str) -> None:
        if command > self._command:
            self._command, self.reason = command, reason
            self._coordinator.command.remote(command)

    def _kill_hung(self, status: WorkerStatus, now: float) -> None:
        self.reason = f"no heartbeat of any worker for {self._hang.limit_s():.0f} s"
        self._hang.reset(now)
        dump_stacks_and_kill(list(status.locations.values()))


class HangDetector:
    """Compares the time since the last heartbeat with the usual interval between heartbeats."""

    def __init__(self, *, factor: float, min_s: float) -> None:
        self._factor, self._min_s = factor, min_s
        self._num, self._last = -1, time.monotonic()
        self._intervals: list[float] = []

    def is_hung(self, num_heartbeats: int, *, now: float) -> bool:
        """Whether `num_heartbeats` has not changed for longer than the limit."""
        if num_heartbeats != self._num:
            self._intervals.append(now - self._last)
            self._num = num_heartbeats
            self.reset(now)
        return now - self._last > self.limit_s()

    def reset(self, now: float) -> None:
        """Count from `now`."""
        self._last = now

    def limit_s(self) -> float:
        """`hang_factor` x the median interval of the last 1,000, at least `hang_min_s`."""
        usual = median(self._intervals[-1000:]) if self._intervals else 0.0
        return max(self._min_s, self._factor * usual)
