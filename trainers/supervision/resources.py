"""How many workers the cluster has room for now, and of how many cores.

num_workers, cpus = wait_for_workers(config, stop=stop, say=print)
"""

import os
import time
from collections.abc import Callable, Mapping, Sequence

import ray
from ray._private import state as ray_state
from ray.util.placement_group import PlacementGroup, placement_group, remove_placement_group

from datasets_src.errors import UserError
from trainers.config.schema import Config, ScalingConfig
from trainers.process.signals import StopSignal

POLL_S = 0.5
SAY_EVERY_S = 30.0
# So long a smaller number of workers waits for the resources of the larger one to come free.
ELASTIC_GRACE_S = 5.0
Node = Mapping[str, float]


def wait_for_workers(
    config: Config, *, stop: StopSignal, say: Callable[[str], None], beside: int = 0
) -> tuple[int, int]:
    """Number of workers and CPUs of each, once they are free; says every 30 s what is missing.

    A cluster that grows is asked for as many as there may be.

    `beside`: so many actors of a worker's size, that have no place yet, fit too.

    Raises:
        UserError: after `scaling.resource_wait_s`; at once where a local Ray is too small.
    """
    with Demand() as demand:
        return _wait(config, demand, stop=stop, say=say, beside=beside)


class Demand:
    """Resources that a cluster is asked for: an autoscaler starts nodes for a placement group that
    waits, and keeps those that it holds. It ends with the driver, whatever ends that."""

    def __init__(self) -> None:
        self._group: PlacementGroup | None = None

    def __enter__(self) -> "Demand":
        return self

    def __exit__(self, *_: object) -> None:
        self.withdraw()

    def ask(self, scaling: ScalingConfig, num: int, cpus: int) -> bool:
        """Ask for `num` workers once; whether all are there, held until this is withdrawn."""
        if self._group is None:
            each = {"CPU": cpus} | ({"GPU": 1} if scaling.use_gpu else {})
            self._group = placement_group([each] * num, strategy="PACK")
        return bool(self._group.wait(0))

    def withdraw(self) -> None:
        """Ask for nothing any more."""
        if self._group is not None:
            remove_placement_group(self._group)
            self._group = None


def _wait(
    config: Config, demand: Demand, *, stop: StopSignal, say: Callable[[str], None], beside: int
) -> tuple[int, int]:
    scaling, started, said = config.scaling, time.monotonic(), 0.0
    while True:
        stop.raise_if_asked()
        totals = nodes("Resources")
        cpus = cpus_per_worker(scaling, totals, beside=config.eval.num_eval_workers)
        room = room_for(scaling, nodes("available"), cpus) - beside
        waited = time.monotonic() - started
        enough = scaling.min_workers if waited > ELASTIC_GRACE_S else scaling.max_workers
        if room >= enough:
            return min(room, scaling.max_workers), cpus
        needed = scaling.min_workers + config.eval.num_eval_workers
        hopeless = not grows() and room_for(scaling, totals, cpus) < needed
        missing = _missing(scaling, needed, totals, nodes("available"), cpus)
        if hopeless or waited > scaling.resource_wait_s:
            reason = "a local Ray does not grow" if hopeless else f"waited {waited:.0f} s"
            raise UserError(
                f"scaling.num_workers: {scaling.min_workers} workers"
                f"{_and_beside(config.eval.num_eval_workers)} do not fit the cluster "
                f"({missing}; {reason}); lower num_workers or cpus_per_worker, or set a longer "
                "resource_wait_s"
            )
        if grows() and demand.ask(scaling, scaling.max_workers + beside, cpus):
            demand.withdraw()  # it was they that were waited for
        if waited - said > SAY_EVERY_S:
            said = waited
            say(f"waiting   {missing}; {waited:.0f} s of {scaling.resource_wait_s:g} s")
        time.sleep(POLL_S)


def grows() -> bool:
    """Whether there may be more nodes later; a Ray of our own is this machine."""
    return bool(os.environ.get("RAY_ADDRESS"))


def nodes(what: str) -> list[Node]:
    """Resources of each living node that is not being drained: all ("Resources") or the free."""
    draining = ray_state.state.get_draining_nodes()
    alive = [n for n in ray.nodes() if n["Alive"] and n["NodeID"] not in draining]
    if what == "Resources":
        return [n["Resources"] for n in alive]
    free = ray_state.available_resources_per_node()
    return [free.get(n["NodeID"], {}) for n in alive]


def cpus_per_worker(scaling: ScalingConfig, totals: Sequence[Node], *, beside: int = 0) -> int:
    """As configured, or the most with which all workers and `beside` actors fit."""
    if scaling.cpus_per_worker:
        return scaling.cpus_per_worker
    num = scaling.max_workers + beside
    most = int(sum(node.get("CPU", 0) for node in totals)) // num
    fitting = (n for n in range(most, 0, -1) if room_for(scaling, totals, n) >= num)
    return next(fitting, 1)


def room_for(scaling: ScalingConfig, nodes: Sequence[Node], cpus: int) -> int:
    """Workers that fit these nodes; each lies on one node."""

    def fit(node: Node) -> int:
        by_cpu = int(node.get("CPU", 0) // cpus)
        return min(by_cpu, int(node.get("GPU", 0))) if scaling.use_gpu else by_cpu

    return sum(fit(node) for node in nodes)


def _and_beside(num: int) -> str:
    return f" and {num} that score beside them (eval.num_eval_workers)" if num else ""


def _missing(
    scaling: ScalingConfig, num: int, totals: Sequence[Node], free: Sequence[Node], cpus: int
) -> str:
    def told(name: str, each: int) -> str:
        there = sum(node.get(name, 0) for node in totals)
        left = sum(node.get(name, 0) for node in free)
        return f"{num * each} {name}s asked, {there:g} there, {left:g} free"

    parts = [told("CPU", cpus)] + ([told("GPU", 1)] if scaling.use_gpu else [])
    return f"{'; '.join(parts)} on {len(totals)} node(s)"
