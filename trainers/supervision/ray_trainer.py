"""TorchTrainer without the helper actors that a run of ours does not need (Ray 2.60 only).

Each of them delays every start by 2 s: one for datasets, of which there are none here; one that
removes the placement groups of a dead controller, as `ray_train_run` does; one that asks the
autoscaler for workers, as resources.py does. Import it through ray_internals.py, which checks the
version.
"""

from typing import Any

import ray
from ray._common.constants import (
    RAY_WARN_BLOCKING_GET_INSIDE_ASYNC_ENV_VAR as WARN_OF_BLOCKING,
)
from ray.train.torch import TorchTrainer
from ray.train.v2._internal.callbacks.datasets import DatasetsCallback
from ray.train.v2._internal.callbacks.placement_group_callback import PlacementGroupCleanerCallback
from ray.train.v2._internal.constants import get_env_vars_to_propagate
from ray.train.v2._internal.execution.controller import TrainController
from ray.train.v2._internal.execution.scaling_policy import FixedScalingPolicy
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

OMITTED = (DatasetsCallback, PlacementGroupCleanerCallback)


class RayTrainer(TorchTrainer):
    """A TorchTrainer with a fixed number of workers that read their rows themselves."""

    def _create_default_callbacks(self) -> list[Any]:
        callbacks = super()._create_default_callbacks()  # type: ignore[misc]
        return [each for each in callbacks if not isinstance(each, OMITTED)]

    def _initialize_and_run_controller(self, **arguments: Any) -> Any:
        """As the overridden method, but the controller is killed when it is done.

        Left to exit by itself, one in a few (Ray 2.60) deadlocks in an exit handler on a lock that
        it holds itself, and keeps 500 MB forever.
        """
        arguments["scaling_policy"] = SilentScalingPolicy(
            arguments["scaling_policy"].scaling_config
        )
        here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
        controller_class: Any = ray.remote(TrainController).options(
            num_cpus=0,
            scheduling_strategy=here,
            runtime_env={"env_vars": {WARN_OF_BLOCKING: "0"} | get_env_vars_to_propagate()},
        )
        controller = controller_class.remote(**arguments)
        try:
            ray.get(controller.run.remote())
            return ray.get(controller.get_result.remote())
        finally:
            ray.kill(controller)


class SilentScalingPolicy(FixedScalingPolicy):
    """A fixed number of workers; the autoscaler learns of them by their placement group alone."""

    def after_controller_start(self, train_run_context: object) -> None:
        """Open no client of the autoscaling coordinator."""

    def _maybe_send_resource_request(self) -> None:
        """Send no request in addition to the placement group."""
