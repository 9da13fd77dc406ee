"""Ray Train without those of its helpers that a run of ours does without.

trainer = LeanTrainer(work, train_loop_config=..., scaling_config=..., ...)

Each is an actor, which holds up every start by 2 s: one for datasets, of which there are none here;
one that removes the placement groups of a dead controller, as attempt.py does; one that asks the
autoscaler for workers, as resources.py does.
"""

from typing import Any

from ray.train.torch import TorchTrainer
from ray.train.v2._internal.callbacks.datasets import DatasetsCallback
from ray.train.v2._internal.callbacks.placement_group_callback import PlacementGroupCleanerCallback
from ray.train.v2._internal.execution.scaling_policy import FixedScalingPolicy

LEFT_OUT = (DatasetsCallback, PlacementGroupCleanerCallback)


class LeanTrainer(TorchTrainer):
    """A TorchTrainer of a fixed number of workers, which read their rows themselves."""

    def _create_default_callbacks(self) -> list[Any]:
        callbacks = super()._create_default_callbacks()  # type: ignore[misc]
        return [each for each in callbacks if not isinstance(each, LEFT_OUT)]

    def _initialize_and_run_controller(self, **told: Any) -> Any:
        told["scaling_policy"] = Unannounced(told["scaling_policy"].scaling_config)
        return super()._initialize_and_run_controller(**told)  # type: ignore[misc]


class Unannounced(FixedScalingPolicy):
    """The number of workers, of which the autoscaler hears by their placement group alone."""

    def after_controller_start(self, train_run_context: object) -> None:
        """Open no client of the coordinator's."""

    def _maybe_send_resource_request(self) -> None:
        """Ask for nothing besides."""
