"""Ray Train without those of its helpers that a run of ours does without.

trainer = RayTrainer(work, train_loop_config=..., scaling_config=..., ...)

Each is an actor, which holds up every start by 2 s: one for datasets, of which there are none here;
one that removes the placement groups of a dead controller, as driver.py does; one that asks the
autoscaler for workers, as resources.py does.
"""

from typing import Any

import ray
from ray._common.constants import (
    RAY_WARN_BLOCKING_GET_INSIDE_ASYNC_ENV_VAR as WARN_OF_BLOCKING,
)
from ray.train.torch import TorchTrainer
from ray.train.v2._internal.callbacks.datasets import DatasetsCallback
from ray.train.v2._internal.callbacks.placement_group_callback import (
    PlacementGroupCleanerCallback,
)
from ray.train.v2._internal.constants import get_env_vars_to_propagate
from ray.train.v2._internal.execution.controller import TrainController
from ray.train.v2._internal.execution.scaling_policy import FixedScalingPolicy
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

LEFT_OUT = (DatasetsCallback, PlacementGroupCleanerCallback)


class RayTrainer(TorchTrainer):
    """A TorchTrainer of a fixed number of workers, which read their rows themselves."""

    def _create_default_callbacks(self) -> list[Any]:
        callbacks = super()._create_default_callbacks()  # type: ignore[misc]
        return [each for each in callbacks if not isinstance(each, LEFT_OUT)]

    def _initialize_and_run_controller(self, **told: Any) -> Any:
        """As the method it overrides, but that the controller is killed when it is done.

        Left to end by itself, one in a few (Ray 2.60) waits in an exit handler for a lock that it
        holds itself, with 500 MB, for ever.
        """
        told["scaling_policy"] = Unannounced(told["scaling_policy"].scaling_config)
        here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
        make: Any = ray.remote(TrainController).options(
            num_cpus=0,
            scheduling_strategy=here,
            runtime_env={"env_vars": {WARN_OF_BLOCKING: "0"} | get_env_vars_to_propagate()},
        )
        controller = make.remote(**told)
        try:
            ray.get(controller.run.remote())
            return ray.get(controller.get_result.remote())
        finally:
            ray.kill(controller)


class Unannounced(FixedScalingPolicy):
    """The number of workers, of which the autoscaler hears by their placement group alone."""

    def after_controller_start(self, train_run_context: object) -> None:
        """Open no client of the coordinator's."""

    def _maybe_send_resource_request(self) -> None:
        """Ask for nothing besides."""
