"""How many workers the cluster has free resources for, and with how many CPUs each.

num_workers, cpus = wait_for_workers(config, stop=stop, log=print)
"""

import os
import time
from collections.abc import Callable, Mapping, Sequence

import ray
from ray.util.placement_group import PlacementGroup, placement_group, remove_placement_group

from datasets_src.errors import UserError
from trainers.config.scaling_section import ScalingConfig
from trainers.config.schema import Config
from trainers.process.signals import StopSignal
from trainers.supervision.ray_internals import draining_nodes, free_per_node

POLL_S = 0.5
LOG_EVERY_S = 30.0
# How long a smaller number of workers waits for the resources of the larger one to become free.
ELASTIC_GRACE_S = 5.0

Node = Mapping[str, float]


def wait_for_workers(
    config: Config, *, stop: StopSignal, log: Callable[[str], None], num_actors: int = 0
) -> tuple[int, int]:
    """Wait until resources are free; an autoscaling cluster is asked for `max_workers`.

    Args:
        log: prints what is missing, every 30 s.
        num_actors: scoring actors of a worker's size that are not placed yet and must fit too.
    Returns:
        Number of workers, and CPUs of each.
    Raises:
        UserError: after `scaling.resource_wait_s`; at once if a local Ray is too small.
    """
    with ResourceRequest() as request:
        return _wait(config, request, stop=stop, log=log, num_actors=num_actors)


class ResourceRequest:
    """A placement group that asks an autoscaler for nodes, and keeps those that it reserves.

    It ends with the driver, however that ends.
    """

    def __init__(self) -> None:
        self._group: PlacementGroup | None = None

    def __enter__(self) -> "ResourceRequest":
        return self

    def __exit__(self, *_: object) -> None:
        self.withdraw()

    def ask(self, scaling: ScalingConfig, num: int, cpus: int) -> bool:
        """Request `num` workers once; whether all are reserved, until this is withdrawn."""
        if self._group is None:
            each = {"CPU": cpus} | ({"GPU": 1} if scaling.use_gpu else {})
            self._group = placement_group([each] * num, strategy="PACK")
        return bool(self._group.wait(0))

    def withdraw(self) -> None:
        """Release what is reserved and stop asking."""
        if self._group is not None:
            remove_placement_group(self._group)
            self._group = None


def _wait(
    config: Config,
    request: ResourceRequest,
    *,
    stop: StopSignal,
    log: Callable[[str], None],
    num_actors: int,
) -> tuple[int, int]:
    scaling, started, logged = config.scaling, time.monotonic(), 0.0
    while True:
        stop.raise_if_asked()
        totals = total_resources()
        cpus = cpus_per_worker(scaling, totals, num_actors=config.eval.num_eval_workers)
        fitting = num_fitting_workers(scaling, free_resources(), cpus) - num_actors
        waited = time.monotonic() - started
        enough = scaling.min_workers if waited > ELASTIC_GRACE_S else scaling.max_workers
        if fitting >= enough:
            return min(fitting, scaling.max_workers), cpus
        needed = scaling.min_workers + config.eval.num_eval_workers
        hopeless = not is_cluster() and num_fitting_workers(scaling, totals, cpus) < needed
        missing = _missing(scaling, needed, totals, free_resources(), cpus)
        if hopeless or waited > scaling.resource_wait_s:
            reason = "a local Ray cannot grow" if hopeless else f"waited {waited:.0f} s"
            raise UserError(
                f"scaling.num_workers: {scaling.min_workers} workers"
                f"{_and_actors(config.eval.num_eval_workers)} do not fit the cluster "
                f"({missing}; {reason}); lower num_workers or cpus_per_worker, or set a longer "
                "resource_wait_s"
            )
        if is_cluster() and request.ask(scaling, scaling.max_workers + num_actors, cpus):
            request.withdraw()  # now free for the workers that were waited for
        if waited - logged > LOG_EVERY_S:
            logged = waited
            log(f"waiting   {missing}; {waited:.0f} s of {scaling.resource_wait_s:g} s")
        time.sleep(POLL_S)


def is_cluster() -> bool:
    """Whether nodes may join later; a local Ray is this machine alone."""
    return bool(os.environ.get("RAY_ADDRESS"))


def _schedulable() -> list[Mapping[str, object]]:
    draining = draining_nodes()
    return [n for n in ray.nodes() if n["Alive"] and n["NodeID"] not in draining]


def total_resources() -> list[Node]:
    """Resources of each node that is alive and not being drained."""
    return [node["Resources"] for node in _schedulable()]  # type: ignore[misc]


def free_resources() -> list[Node]:
    """Free resources of each node that is alive and not being drained."""
    return free_per_node([str(node["NodeID"]) for node in _schedulable()])


def cpus_per_worker(scaling: ScalingConfig, totals: Sequence[Node], *, num_actors: int = 0) -> int:
    """`cpus_per_worker` if set, else the most with which all workers and `num_actors` fit."""
    if scaling.cpus_per_worker:
        return scaling.cpus_per_worker
    num = scaling.max_workers + num_actors
    most = int(sum(node.get("CPU", 0) for node in totals)) // num
    fitting = (n for n in range(most, 0, -1) if num_fitting_workers(scaling, totals, n) >= num)
    return next(fitting, 1)


def num_fitting_workers(scaling: ScalingConfig, nodes: Sequence[Node], cpus: int) -> int:
    """Workers that fit on these nodes; a worker is on one node."""

    def fit(node: Node) -> int:
        by_cpu = int(node.get("CPU", 0) // cpus)
        return min(by_cpu, int(node.get("GPU", 0))) if scaling.use_gpu else by_cpu

    return sum(fit(node) for node in nodes)


def _and_actors(num: int) -> str:
    return f" and {num} scoring actors (eval.num_eval_workers)" if num else ""


def _missing(
    scaling: ScalingConfig, num: int, totals: Sequence[Node], free: Sequence[Node], cpus: int
) -> str:
    def line(name: str, each: int) -> str:
        total = sum(node.get(name, 0) for node in totals)
        left = sum(node.get(name, 0) for node in free)
        return f"{num * each} {name}s requested, {total:g} in the cluster, {left:g} free"

    parts = [line("CPU", cpus)] + ([line("GPU", 1)] if scaling.use_gpu else [])
    return f"{'; '.join(parts)} on {len(totals)} node(s)"
