"""One checkpoint of a run: the trained weights, the optimizer's state, and its line of record.

save(job, it, step, records, keeper)   # collective: all ranks hold a part of it
"""

import resource
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from safetensors.torch import save_file

from datasets_src.plan import steps_per_epoch
from trainers.checkpoints import Checkpoint, save_checkpoint
from trainers.failpoints import fail_at
from trainers.keeper import Keeper
from trainers.methods.choose import method_module
from trainers.model import LanguageModel
from trainers.optimizer import FILE as OPTIMIZER
from trainers.records import Records
from trainers.run_dir import read_json, read_jsonl, write_json
from trainers.trainee import Job, Trainee

STATE = "trainer_state.json"


def save(job: Job, it: Trainee, step: int, records: Records, keeper: Keeper) -> None:
    """Write a checkpoint after `step`; the rows of the steps up to it are on disk before it is."""
    peak_gib = torch.tensor(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20)
    if job.world > 1:
        dist.all_reduce(peak_gib)
    records.sync()
    state = it.engine.state()
    with it.engine.whole() as model:
        if job.rank == 0:
            saved = _write(job, it, step, model, state, peak_gib=float(peak_gib), records=records)
            keeper.saved(saved)
    keeper.send_ledger()
    fail_at("after_save", step=step, rank=job.rank)


def record_missing(job: Job, checkpoint: Checkpoint, records: Records) -> None:
    """Add the line of a checkpoint whose writer was killed before it."""
    rows = read_jsonl(job.run_dir / "checkpoints.jsonl")
    if checkpoint.path.name not in {Path(row["path"]).name for row in rows}:
        state = read_json(checkpoint.path / STATE)
        records.append("checkpoints", _row(job, checkpoint, state))


def _write(
    job: Job,
    it: Trainee,
    step: int,
    model: LanguageModel,
    state: Mapping[str, torch.Tensor],
    *,
    peak_gib: float,
    records: Records,
) -> Checkpoint:
    batch_size = job.config.train.train_batch_size
    told = {
        "step": step,
        "epoch": round(step / steps_per_epoch(len(it.train), batch_size), 4),
        "peak_memory_gib": round(peak_gib, 3),
    }
    how = method_module(job.config.method)

    def write(folder: Path) -> None:
        how.save(model, folder, base_name=job.config.model.model_name_or_path)
        save_file(dict(state), folder / OPTIMIZER)
        write_json(folder / STATE, told)

    saved = save_checkpoint(
        job.run_dir / "checkpoints", step=step, attempt=job.attempt, write=write
    )
    records.append("checkpoints", _row(job, saved, told))
    fail_at("after_record", step=step, rank=job.rank)
    return saved


def _row(job: Job, saved: Checkpoint, told: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "step": saved.step,
        "epoch": told["epoch"],
        "path": str(saved.path.relative_to(job.run_dir)),
        "attempt": saved.attempt,
        "num_bytes": sum(path.stat().st_size for path in saved.path.iterdir()),
        "saved_at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "peak_memory_gib": told["peak_memory_gib"],
    }
