"""A run that branches from another's checkpoint: the same bytes as if it had trained up to there.

branch_from(trunk_dir, 84, run_dir)

The two configs agree up to that step, so the records up to it are copied too, and the best
checkpoint before it. The checkpoint of that step comes last, and gets its final name only when it
is complete: its presence means that all is copied. If it is gone or damaged, an older one serves,
or none: the run's own config then trains the rest to the same bytes.
"""

import os
import shutil
import uuid
from pathlib import Path

from datasets_src.files import write_atomically
from trainers.run.records import NAMES
from trainers.run.scores import best_of, read_scores
from trainers.storage.checkpoints import Checkpoint, damage, list_checkpoints
from trainers.storage.json_files import read_jsonl, write_jsonl


def branch_from(parent: Path, step: int, run_dir: Path) -> None:
    """Copy the records and checkpoints of `parent` up to `step`, unless `run_dir` is there."""
    store = run_dir / "checkpoints"
    if any(own.step >= step for own in list_checkpoints(store)):
        return
    for name in NAMES:
        rows = [r for r in read_jsonl(parent / f"{name}.jsonl") if (r["step"] or 0) <= step]
        write_jsonl(run_dir / f"{name}.jsonl", rows)
        for row in rows if name == "scores" else ():
            (run_dir / "predictions").mkdir(exist_ok=True)
            shutil.copyfile(parent / row["predictions"], run_dir / row["predictions"])
    for checkpoint in reversed(_to_copy(parent, step)):
        target = store / checkpoint.path.name
        if not target.exists():
            # The loop deletes .part folders, if we are killed before the rename.
            with write_atomically(target, writer=uuid.uuid4().hex[:8]) as part:
                shutil.copytree(checkpoint.path, part, copy_function=_link)


def _to_copy(parent: Path, step: int) -> list[Checkpoint]:
    """The newest valid checkpoint up to `step`, and the best before it."""
    checkpoints = [c for c in list_checkpoints(parent / "checkpoints") if c.step <= step]
    best = best_of(score for score in read_scores(parent) if (score.step or 0) <= step)
    found: list[Checkpoint] = []
    for checkpoint in checkpoints:
        is_best = best is not None and checkpoint.step == best.step
        if (not found or is_best) and damage(checkpoint.path) is None:
            found.append(checkpoint)
    return found


def _link(source: str, target: str) -> None:
    """Hard-link: checkpoints are never rewritten, so two runs may share the bytes."""
    try:
        os.link(source, target)
    except OSError:  # a file system without hard links
        shutil.copyfile(source, target)
