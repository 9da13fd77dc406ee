"""The disk budget of a sweep: checkpoints go by score, the worst first.

Never deleted: the newest checkpoint of a run that goes on, those that others will begin with, and
the one that leads. Room for all that a run at work has (its newest, its best, and the one being
written) is kept free before it starts, so that the budget holds at every moment.
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
    """Bytes of all files below a directory; a file with several names counts once."""
    sizes: dict[tuple[int, int], int] = {}
    for path in directory.rglob("*"):
        try:
            told = path.lstat()
        except FileNotFoundError:  # deleted since it was listed
            continue
        if path.is_file():
            sizes[told.st_dev, told.st_ino] = told.st_size
    return sum(sizes.values())


def prune_settled(run_dir: Path) -> None:
    """Keep of a run that goes on no more its best checkpoint only."""
    scored = {s.step: s.merit for s in read_scores(run_dir) if s.step is not None}
    there = list_checkpoints(run_dir / "checkpoints")
    best = max(
        (c for c in there if c.step in scored),
        key=lambda c: (scored[c.step], -c.step),
        default=None,
    )
    for checkpoint in there:
        if checkpoint is not best:
            delete_checkpoint(checkpoint.path, step=checkpoint.step)


def make_room(
    directory: Path,
    *,
    limit: int,
    needed: int,
    live: Collection[str],
    kept: Collection[tuple[str, str]],
) -> bool:
    """Delete the worst checkpoints until `needed` bytes fit below `limit`; whether they do.

    Args:
        live: keys of runs that go on or are at work.
        kept: runs and checkpoints ("step-000140") that stay.
    """
    candidates = sorted(_spare(directory, live=live, kept=kept), key=lambda pair: pair[0])
    while used_bytes(directory) + needed > limit:
        if not candidates:
            return False
        _, checkpoint = candidates.pop(0)
        delete_checkpoint(checkpoint.path, step=checkpoint.step)
    return True


def _spare(
    directory: Path, *, live: Collection[str], kept: Collection[tuple[str, str]]
) -> list[tuple[float, Checkpoint]]:
    """Checkpoints that may go, each with its score; an unscored one is worth nothing."""
    found = []
    for run_dir in (directory / "trials").glob("*"):
        scores = {s.step: s.merit for s in read_scores(run_dir)}
        for place, checkpoint in enumerate(list_checkpoints(run_dir / "checkpoints")):
            goes_on = run_dir.name in live and place == 0
            if not goes_on and (run_dir.name, step_name(checkpoint.step)) not in kept:
                found.append((scores.get(checkpoint.step, -math.inf), checkpoint))
    return found
