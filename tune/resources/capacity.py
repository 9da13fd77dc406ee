"""How many trials run at a time, and on how many cores each: from cores and memory, not guessed.

plan_capacity(sweep, model_dir, num_cores=16)
Capacity(num_trials=4, cpus=4, …).told  -> "4 trials at a time on 4 of 16 cores each (memory …)"
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
    """`num_trials` at a time, each of `cpus` cores a worker; `told` says why."""

    num_trials: int
    cpus: int
    told: str


def plan_capacity(
    sweep: Sweep,
    model_dir: Path,
    *,
    num_cores: int,
    free_bytes: int | None = None,
    known_cpus: int | None = None,
) -> Capacity:
    """What fits `num_cores` and, where all runs on this machine, `free_bytes` of memory.

    `known_cpus` is what the sweep began with: another number of threads rounds sums otherwise.

    Raises:
        UserError: not one trial fits, or fewer than `max_concurrent_trials`.
    """
    base, asked = sweep.base, sweep.settings.max_concurrent_trials
    by_memory, told = _by_memory(base, model_dir, free_bytes)
    workers = base.scaling.max_workers if is_nested(base) else 1
    most = min(num_cores // workers, by_memory)
    cpus = base.scaling.cpus_per_worker or known_cpus
    if cpus is None:
        cpus = max(1, num_cores // (workers * max(1, min(asked or most, most))))
    by_cores = num_cores // (workers * cpus)
    fit = min(by_cores, by_memory)
    each = f"{workers} workers of {cpus}" if workers > 1 else f"{cpus}"
    why = f"{by_cores} fit {num_cores} cores at {each} each, {told}"
    if fit < 1 or (asked or 0) > fit:
        key = "max_concurrent_trials" if fit else "num_workers"
        raise UserError(
            f"sweep.max_concurrent_trials: {asked or 1} trials at a time, but {fit} fit ({why}); "
            f"lower {key}, cpus_per_worker or max_tokens_per_micro_batch"
        )
    num = asked or fit
    return Capacity(num, cpus, f"{num} trials at a time ({why})")


def _by_memory(base: Config, model_dir: Path, free_bytes: int | None) -> tuple[int, str]:
    """Trials that memory holds, and the words for it."""
    if free_bytes is None:
        return 2**30, "memory of other machines is not known"
    needed = footprint(base, model_dir)
    workers = base.scaling.max_workers
    fit = max(0, free_bytes - needed.shared_bytes) // (workers * needed.private_bytes)
    told = (
        f"{fit} fit {free_bytes / GIB:.1f} GiB of memory at "
        f"{workers * needed.private_bytes / GIB:.2f} GiB each"
    )
    if needed.shared_bytes:
        told += f" beside one base of {needed.shared_bytes / GIB:.2f} GiB"
    return int(fit), told
