"""Train the winner once more, on training and validation rows together, for as many epochs.

segment = refit_group(board, prepared_dir, number=8).segments[0]  -> runs/my_sweep/refit-3f2a…

It is not scored: no held-out row is left. It stops at the epoch of the winner's best checkpoint,
under the winner's schedule.
"""

import shutil
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from datasets_src.batching.plan import steps_per_epoch
from datasets_src.files import write_atomically
from datasets_src.prepared.store import SplitWriter, open_split
from trainers.config.step_rules import stretched
from tune.leaderboard.board import Leaderboard, best_config
from tune.trials.segments import Run, Segment, TrialGroup

SPLITS = ("train", "validation")


def refit_group(board: Leaderboard, prepared_dir: Path, *, number: int) -> TrialGroup:
    """A group of one segment and no trial."""
    best = board.best
    assert best is not None
    rows = all_rows(prepared_dir)
    config = best_config(board)
    changes = {
        "run_name": f"refit-{best.trial.key}",
        "output_dir": str(board.directory),
        "hub": type(config.hub)(),
        "export": config.export.model_copy(update={"export_best": False}),
        "eval": config.eval.model_copy(update={"eval_on_start": False}),
    }
    config = config.model_copy(update=changes)
    batch_size = config.train.train_batch_size
    steps_before, steps_now = (
        steps_per_epoch(len(open_split(each, "train")), batch_size) for each in (prepared_dir, rows)
    )
    if config.train.step_rules is not None:
        rules = stretched(config.train.step_rules, steps_now / steps_before)
        train = config.train.model_copy(update={"step_rules": rules})
        config = config.model_copy(update={"train": train})
    until = max(round(best.epoch * steps_now), 1)
    segment = Segment(Run(config.run_name, config), until, scored=False, rows=rows)
    return TrialGroup(number, (), (segment,), ())


def all_rows(prepared_dir: Path) -> Path:
    """Prepared rows whose train split holds the rows of both splits; made once."""
    target = prepared_dir.with_name(f"{prepared_dir.name}-all")
    if target.is_dir():
        return target
    with write_atomically(target) as part:
        shutil.copytree(prepared_dir, part)
        (part / "train.parquet").unlink()
        tables = [pq.read_table(prepared_dir / f"{split}.parquet") for split in SPLITS]
        writer = SplitWriter(part / "train.parquet", open_split(prepared_dir, "train").defaults)
        writer.write(pa.concat_tables([table.replace_schema_metadata(None) for table in tables]))
        writer.close()
    return target
