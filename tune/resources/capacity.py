"""How many trials run concurrently, and on how many cores each: planned from cores and memory.

plan_capacity(sweep, model_dir, num_cores=16)
Capacity(num_trials=4, cpus=4, …).summary  -> "4 concurrent trials (4 fit 16 cores at 4 each, …)"
"""

from dataclasses import dataclass
from pathlib import Path

from datasets_src.errors import UserError
from trainers.config.schema import Config
from trainers.models.memory_estimate import footprint
from tune.config import Sweep, is_nested

GIB = 2**30


@dataclass(frozen=True)
class Capacity:
    """`num_trials` concurrent trials, `cpus` cores per worker; `summary` gives the reason."""

    num_trials: int
    cpus: int
    summary: str


def plan_capacity(
    sweep: Sweep,
    model_dir: Path,
    *,
    num_cores: int,
    free_bytes: int | None = None,
    recorded_cpus: int | None = None,
) -> Capacity:
    """What fits the cores and, where all trials run on this machine, its memory.

    Args:
        num_cores: of the cluster.
        free_bytes: of this machine's memory; None for a cluster.
        recorded_cpus: cores per worker that the sweep was started with; another number of threads
            changes the order of floating-point sums.

    Raises:
        UserError: not one trial fits, or fewer than `max_concurrent_trials`.
    """
    base, requested = sweep.base, sweep.settings.max_concurrent_trials
    by_memory, memory_reason = _by_memory(base, model_dir, free_bytes)
    workers = base.scaling.max_workers if is_nested(base) else 1
    most = min(num_cores // workers, by_memory)
    cpus = base.scaling.cpus_per_worker or recorded_cpus
    if cpus is None:
        cpus = max(1, num_cores // (workers * max(1, min(requested or most, most))))
    by_cores = num_cores // (workers * cpus)
    fit = min(by_cores, by_memory)
    each = f"{workers} workers of {cpus}" if workers > 1 else f"{cpus}"
    reason = f"{by_cores} fit {num_cores} cores at {each} each, {memory_reason}"
    if fit < 1 or (requested or 0) > fit:
        key = "max_concurrent_trials" if fit else "num_workers"
        raise UserError(
            f"sweep.max_concurrent_trials: {requested or 1}, but {fit} fit ({reason}); "
            f"lower {key}, cpus_per_worker or max_tokens_per_micro_batch"
        )
    num_trials = requested or fit
    return Capacity(num_trials, cpus, f"{num_trials} concurrent trials ({reason})")


def _by_memory(base: Config, model_dir: Path, free_bytes: int | None) -> tuple[int, str]:
    """Trials that fit the memory, and the reason in words."""
    if free_bytes is None:
        return 2**30, "memory of other machines is unknown"
    needed = footprint(base, model_dir)
    workers = base.scaling.max_workers
    fit = max(0, free_bytes - needed.shared_bytes) // (workers * needed.private_bytes)
    reason = (
        f"{fit} fit {free_bytes / GIB:.1f} GiB of memory at "
        f"{workers * needed.private_bytes / GIB:.2f} GiB each"
    )
    if needed.shared_bytes:
        reason += f" plus one shared base of {needed.shared_bytes / GIB:.2f} GiB"
    return int(fit), reason
