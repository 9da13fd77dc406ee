"""A run that begins with another's checkpoint: the same bytes as if it had trained up to there.

begin_with(trunk_dir, 84, run_dir)

The two configs agree up to that step, so the records up to it are taken over too, and the best
checkpoint before it. The one of that step comes last, and under its final name only when it is
whole: its being there says that all is. Where it is gone or damaged an older one serves, or none:
the run's own config trains the rest to the same bytes.
"""

import os
import shutil
import uuid
from pathlib import Path

from trainers.run.records import NAMES
from trainers.run.scores import best_of, read_scores
from trainers.storage.checkpoints import Checkpoint, damage, list_checkpoints
from trainers.storage.json_files import read_jsonl, write_jsonl


def begin_with(parent: Path, step: int, run_dir: Path) -> None:
    """Take over what `parent` did up to `step`, unless `run_dir` has gone on from there already."""
    store = run_dir / "checkpoints"
    if any(ours.step >= step for ours in list_checkpoints(store)):
        return
    for name in NAMES:
        rows = [r for r in read_jsonl(parent / f"{name}.jsonl") if (r["step"] or 0) <= step]
        write_jsonl(run_dir / f"{name}.jsonl", rows)
        for row in rows if name == "scores" else ():
            (run_dir / "predictions").mkdir(exist_ok=True)
            shutil.copyfile(parent / row["predictions"], run_dir / row["predictions"])
    for checkpoint in reversed(_wanted(parent, step)):
        target = store / checkpoint.path.name
        if not target.exists():
            # A name that the loop sweeps away, if we are killed before it has the final one.
            part = store / f".{target.name}.{uuid.uuid4().hex[:8]}.part"
            shutil.copytree(checkpoint.path, part, copy_function=_link)
            part.rename(target)


def _wanted(parent: Path, step: int) -> list[Checkpoint]:
    """The newest valid checkpoint up to `step`, and the best before it."""
    there = [c for c in list_checkpoints(parent / "checkpoints") if c.step <= step]
    best = best_of(score for score in read_scores(parent) if (score.step or 0) <= step)
    found: list[Checkpoint] = []
    for checkpoint in there:
        is_best = best is not None and checkpoint.step == best.step
        if (not found or is_best) and damage(checkpoint.path) is None:
            found.append(checkpoint)
    return found


def _link(source: str, target: str) -> None:
    """Checkpoints are never written again, so two runs may share the bytes."""
    try:
        os.link(source, target)
    except OSError:  # a file system without links
        shutil.copyfile(source, target)
