"""The disk quota of a sweep: checkpoints are deleted by score, the worst first.

Never deleted: the newest checkpoint of a run that continues, those that other runs will branch
from, and the best of all. The space that a running trial may take (its newest, its best, and the
checkpoint being written) is freed before it starts, so that the quota holds at every moment.
"""

import math
from collections.abc import Collection
from pathlib import Path

from trainers.run.scores import read_scores
from trainers.storage.checkpoints import (
    Checkpoint,
    delete_checkpoint,
    list_checkpoints,
    step_name,
)


def used_bytes(directory: Path) -> int:
    """Bytes of all files below a directory; hard links of one file count once."""
    sizes: dict[tuple[int, int], int] = {}
    for path in directory.rglob("*"):
        try:
            stat = path.lstat()
        except FileNotFoundError:  # deleted since it was listed
            continue
        if path.is_file():
            sizes[stat.st_dev, stat.st_ino] = stat.st_size
    return sum(sizes.values())


def prune_to_best(run_dir: Path) -> None:
    """Delete all checkpoints but the best of a run that is not continued."""
    scored = {s.step: s.merit for s in read_scores(run_dir) if s.step is not None}
    checkpoints = list_checkpoints(run_dir / "checkpoints")
    best = max(
        (c for c in checkpoints if c.step in scored),
        key=lambda c: (scored[c.step], -c.step),
        default=None,
    )
    for checkpoint in checkpoints:
        if checkpoint is not best:
            delete_checkpoint(checkpoint.path, step=checkpoint.step)


def free_space(
    directory: Path,
    *,
    limit: int,
    needed: int,
    active: Collection[str],
    protected: Collection[tuple[str, str]],
) -> bool:
    """Delete the worst checkpoints until `needed` bytes fit below `limit`; whether they fit.

    Args:
        active: keys of runs that run or will continue; their newest checkpoint stays.
        protected: runs and checkpoints ("step-000140") that stay.
    """
    deletable = _deletable(directory, active=active, protected=protected)
    candidates = sorted(deletable, key=lambda pair: pair[0])
    while used_bytes(directory) + needed > limit:
        if not candidates:
            return False
        _, checkpoint = candidates.pop(0)
        delete_checkpoint(checkpoint.path, step=checkpoint.step)
    return True


def _deletable(
    directory: Path, *, active: Collection[str], protected: Collection[tuple[str, str]]
) -> list[tuple[float, Checkpoint]]:
    """Checkpoints that may be deleted, with their scores; an unscored one ranks lowest."""
    found = []
    for run_dir in (directory / "trials").glob("*"):
        scores = {s.step: s.merit for s in read_scores(run_dir)}
        for index, checkpoint in enumerate(list_checkpoints(run_dir / "checkpoints")):
            resumed_from = run_dir.name in active and index == 0  # the newest
            if not resumed_from and (run_dir.name, step_name(checkpoint.step)) not in protected:
                found.append((scores.get(checkpoint.step, -math.inf), checkpoint))
    return found
