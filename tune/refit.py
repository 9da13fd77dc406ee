"""The winner trained once more, on training and validation rows together, for as many epochs.

leg = refit_line(board, prepared_dir, number=8).legs[0]     -> runs/my_sweep/refit-3f2a…

Nothing scores it: no row is left that it was not trained on. It stops where the winner's best
checkpoint stood, in epochs, and its schedule is the winner's.
"""

import shutil
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from datasets_src.batching.plan import steps_per_epoch
from datasets_src.prepared.store import SplitWriter, open_split
from trainers.config.step_rules import stretched
from tune.leaderboard.board import Board, best_config
from tune.trials.trials import Leg, Line, Run

SIDES = ("train", "validation")


def refit_line(board: Board, prepared_dir: Path, *, number: int) -> Line:
    """A line of one leg without a trial."""
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
    size = config.train.train_batch_size
    before, now = (
        steps_per_epoch(len(open_split(each, "train")), size) for each in (prepared_dir, rows)
    )
    if config.train.step_rules is not None:
        rules = stretched(config.train.step_rules, now / before)
        train = config.train.model_copy(update={"step_rules": rules})
        config = config.model_copy(update={"train": train})
    until = round(best.epoch * now)
    leg = Leg(Run(config.run_name, config), max(until, 1), scored=False, rows=rows)
    return Line(number, (), (leg,), ())


def all_rows(prepared_dir: Path) -> Path:
    """Prepared rows whose training side has both sides' rows; made once."""
    target = prepared_dir.with_name(f"{prepared_dir.name}-all")
    if target.is_dir():
        return target
    part = target.with_name(f".{target.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    shutil.copytree(prepared_dir, part)
    (part / "train.parquet").unlink()
    tables = [pq.read_table(prepared_dir / f"{side}.parquet") for side in SIDES]
    writer = SplitWriter(part / "train.parquet", open_split(prepared_dir, "train").defaults)
    writer.write(pa.concat_tables([table.replace_schema_metadata(None) for table in tables]))
    writer.close()
    part.rename(target)
    return target
