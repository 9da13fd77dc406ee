"""The `scaling` section of a config: number and size of the Ray Train workers, restarts, hangs.

ScalingConfig(num_workers={"min": 1, "max": 4}, cpus_per_worker=16).max_workers == 4
"""

from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from datasets_src.config import Section


class ScalingConfig(Section):
    """The Ray Train workers."""

    num_workers: int | dict[Literal["min", "max"], int] = Field(
        2, description="data-parallel workers; {min: 1, max: 4} is elastic with the cluster"
    )
    cpus_per_worker: int | None = Field(
        None, ge=1, description="CPUs of a worker; default: the cluster's CPUs split evenly"
    )
    use_gpu: bool = Field(False, description="one GPU per worker")
    zero_stage: Literal[0, 2, 3] = Field(
        0, description="DeepSpeed ZeRO: 2 shards optimizer and gradients, 3 also the weights"
    )
    offload_optimizer: bool = Field(
        True, description="ZeRO on GPU: keep master weights and moments in CPU memory"
    )
    max_failures: int = Field(
        3, ge=0, description="failed attempts without a new checkpoint before the run fails"
    )
    hang_factor: float = Field(
        30.0,
        gt=1,
        description="restart workers after hang_factor x the median heartbeat interval without a "
        "heartbeat",
    )
    hang_min_s: float = Field(
        600.0, gt=0, description="minimum seconds without a heartbeat before that"
    )
    resource_wait_s: float = Field(
        60, ge=0, description="seconds to wait until the cluster has the resources"
    )

    @property
    def min_workers(self) -> int:
        """Fewest workers to train with."""
        return self.num_workers if isinstance(self.num_workers, int) else self.num_workers["min"]

    @property
    def max_workers(self) -> int:
        """Most workers to train with."""
        return self.num_workers if isinstance(self.num_workers, int) else self.num_workers["max"]

    @field_validator("num_workers", mode="before")
    @classmethod
    def _number_or_range(cls, raw: Any) -> Any:
        ends = (raw.get("min"), raw.get("max")) if isinstance(raw, dict) else (raw, raw)
        named = not isinstance(raw, dict) or raw.keys() == {"min", "max"}
        match ends:
            case int(low), int(high) if named and 1 <= low <= high:
                return raw
        raise ValueError(f"{raw!r} is not a number of workers; write 2, or {{min: 1, max: 4}}")

    @model_validator(mode="after")
    def _range_needs_worker_size(self) -> "ScalingConfig":
        if isinstance(self.num_workers, dict) and self.cpus_per_worker is None:
            raise ValueError(
                "num_workers: an elastic range needs a fixed worker size; set cpus_per_worker=8"
            )
        return self
