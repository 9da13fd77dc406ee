"""Everything that uses private modules of Ray, behind a version guard with public fallbacks.

    usable()                  the installed Ray is the series these were tested with
    draining_nodes()          fallback: none; Ray Train's own preemption watcher is left on instead
    free_per_node()           fallback: the whole cluster's free resources as one node
    make_trainer(...)         fallback: the plain TorchTrainer, about 4 s slower at each start

`usable` prints once which path is taken where it is not the tested one.
"""

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import ray
from ray.train.torch import TorchTrainer

TESTED_SERIES = "2.60."

Resources = Mapping[str, float]


def usable() -> bool:
    """Whether Ray's private modules may be used; says so once if not."""
    return _is_series(ray.__version__, TESTED_SERIES)


@lru_cache(maxsize=1)
def _is_series(version: str, series: str) -> bool:
    if version.startswith(series):
        return True
    print(
        f"note: Ray {version}: tested with {series}x; using Ray's public API only (slower "
        "starts; a drained node restarts the workers from the last checkpoint)",
        flush=True,
    )
    return False


def draining_nodes() -> set[str]:
    """Ids of the nodes that are being drained."""
    if not usable():
        return set()
    from ray._private.state import state

    return set(state.get_draining_nodes())


def free_per_node(node_ids: list[str]) -> list[Resources]:
    """Free resources of each of these nodes."""
    if not usable():
        return [ray.available_resources()]
    from ray._private.state import available_resources_per_node

    free = available_resources_per_node()
    return [free.get(node_id, {}) for node_id in node_ids]


def make_trainer(**arguments: Any) -> TorchTrainer:
    """A TorchTrainer with a fixed number of workers that read their rows themselves."""
    if not usable():
        return TorchTrainer(**arguments)
    from trainers.supervision.ray_trainer import RayTrainer

    return RayTrainer(**arguments)
