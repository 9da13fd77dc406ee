"""What the driver watches for while workers train, and what it then orders or does.

a signal to stop, a node that is drained   ->  save now, and leave
room for more workers (elastic)            ->  leave right after the next save; a cluster that may
                                               grow is asked for them
no word for k times the usual              ->  write down all stacks, end the workers
no answer from the cluster's head          ->  give up
"""

import time
from statistics import median
from typing import Any

from ray._private import state as ray_state

from trainers.config.schema import Config
from trainers.process.signals import StopSignal
from trainers.supervision.head_node import answers, head_address
from trainers.supervision.message_board import WorkerStatus
from trainers.supervision.orders import Command
from trainers.supervision.resources import Demand, grows, nodes, room_for
from trainers.supervision.stack_dump import (
    end_workers,
)

LOOK_EVERY_S = 1.0
GROW_EVERY_S = 5.0


class Monitor:
    """Looks at one attempt until it ends; `why` is the reason for which workers were told to go."""

    def __init__(
        self, config: Config, board: Any, *, world_size: int, cpus: int, stop: StopSignal
    ) -> None:
        self._scaling, self._board, self._stop = config.scaling, board, stop
        self._world_size, self._cpus = world_size, cpus
        now = time.monotonic()
        self._looked = self._looked_for_room = now
        self._head = head_address()
        self._quiet = HangDetector(
            factor=self._scaling.hang_factor, at_least_s=self._scaling.hang_min_s
        )
        self.why: str | None = None
        self._order = Command.GO_ON
        self._demand = Demand()

    def close(self) -> None:
        """Hold nothing any more: the attempt has ended."""
        self._demand.withdraw()

    def look(self, word: WorkerStatus) -> None:
        """One round, at most each second what asks the cluster.

        Raises:
            RunFailed: the lease is lost.
        """
        self._stop.raise_if_lost()
        if self._stop.signum is not None:
            self._tell(Command.SAVE_AND_LEAVE, "a signal to stop")
        now = time.monotonic()
        if self._quiet.too_long(word.num_beats, now=now):
            self._end_hung(word, now)
        if now - self._looked > LOOK_EVERY_S:
            self._looked = now
            self._look_at_cluster(word, now)

    def _look_at_cluster(self, word: WorkerStatus, now: float) -> None:
        if not answers(self._head):
            return  # a question would take until it is back; HeadWatch counts the seconds
        drained = {p.node_id: p for p in word.places.values()}.keys() & draining()
        if drained:
            hosts = sorted({p.host for p in word.places.values() if p.node_id in drained})
            self._tell(Command.SAVE_AND_LEAVE, f"{', '.join(hosts)} is being drained")
        if (
            self._world_size < self._scaling.max_workers
            and now - self._looked_for_room > GROW_EVERY_S
        ):
            self._looked_for_room = now
            missing = self._scaling.max_workers - self._world_size
            more = min(missing, room_for(self._scaling, nodes("available"), self._cpus))
            if not more and grows() and self._demand.ask(self._scaling, missing, self._cpus):
                more = missing
            if more:
                self._tell(Command.LEAVE_AFTER_SAVE, f"there is room for {more} more workers")

    def _tell(self, order: Command, why: str) -> None:
        if order > self._order:
            self._order, self.why = order, why
            self._board.order.remote(order)

    def _end_hung(self, word: WorkerStatus, now: float) -> None:
        self.why = f"no word of any worker for {self._quiet.limit_s():.0f} s"
        self._quiet.heard(now)
        end_workers(list(word.places.values()))


class HangDetector:
    """How long nothing was heard, against how long that usually takes."""

    def __init__(self, *, factor: float, at_least_s: float) -> None:
        self._factor, self._at_least_s = factor, at_least_s
        self._num, self._heard = -1, time.monotonic()
        self._gaps: list[float] = []

    def too_long(self, num_beats: int, *, now: float) -> bool:
        """Whether `num_beats` has stayed the same for longer than the limit."""
        if num_beats != self._num:
            self._gaps.append(now - self._heard)
            self._num = num_beats
            self.heard(now)
        return now - self._heard > self.limit_s()

    def heard(self, now: float) -> None:
        """Start to count anew."""
        self._heard = now

    def limit_s(self) -> float:
        """`hang_factor` times the median time between words, and `hang_min_s` at least."""
        usual = median(self._gaps[-1000:]) if self._gaps else 0.0
        return max(self._at_least_s, self._factor * usual)


def draining() -> set[str]:
    """Ids of the nodes that are being drained."""
    return set(ray_state.state.get_draining_nodes())
