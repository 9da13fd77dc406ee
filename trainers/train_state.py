"""What a worker trains, on what, and from where: told in a Job, built from a checkpoint or anew.

it = build(job, checkpoint, progress)
"""

import resource
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from safetensors.torch import load_file, save_file
from torch import nn
from transformers.tokenization_utils_base import PreTrainedTokenizerBase

from datasets_src.batching.plan import steps_per_epoch
from datasets_src.prepared.store import Split, open_split
from trainers.config.schema import Config
from trainers.methods.choose import method_module
from trainers.models.load import LanguageModel, compute_dtype, load_tokenizer
from trainers.models.resolve import resolve_base
from trainers.process.failpoints import fail_at
from trainers.run.checkpoint_manager import CheckpointManager
from trainers.run.records import Records
from trainers.run.scores import read_scores
from trainers.step.optimizer import FILE as OPTIMIZER
from trainers.step.optimizer import make_optimizer
from trainers.step.train_step import DataParallelEngine, Engine
from trainers.storage.checkpoints import Checkpoint, save_checkpoint
from trainers.storage.json_files import read_json, read_jsonl, write_json
from trainers.supervision.reporter import WorkerReporter


@dataclass(frozen=True)
class WorkerSpec:
    """What a worker is told: all plain values, the same on every rank but `rank`."""

    config: Config
    run_dir: Path
    prepared_dir: Path
    attempt: str
    rank: int
    world_size: int
    num_threads: int
    # Train up to this step and save it; the plan and its schedule stay those of the whole run.
    until: int | None = None
    # Where False nobody scores what is saved: its rows were trained on.
    scored: bool = True


@dataclass(frozen=True)
class TrainState:
    """What a worker trains, and on what."""

    engine: Engine
    model_dir: Path
    tokenizer: PreTrainedTokenizerBase
    train: Split
    validation: Split


@dataclass(frozen=True)
class ResumePoint:
    """Where an attempt begins: rank 0 looks, all ranks do the same."""

    checkpoint: Checkpoint | None
    scored: frozenset[str]

    @property
    def step(self) -> int:
        """The last step that is done."""
        return 0 if self.checkpoint is None else self.checkpoint.step


def find_resume_point(job: WorkerSpec, keeper: CheckpointManager) -> ResumePoint:
    """The newest valid checkpoint, and the names that were scored up to it."""
    found: list[tuple[str | None, frozenset[str]] | None] = [None]
    if job.rank == 0:
        newest = keeper.newest()
        step = 0 if newest is None else newest.step
        names = frozenset(s.name for s in read_scores(job.run_dir) if (s.step or 0) <= step)
        found = [(None if newest is None else newest.path.name, names)]
    if job.world_size > 1:
        dist.broadcast_object_list(found)
    assert found[0] is not None
    name, scored = found[0]
    return ResumePoint(None if name is None else keeper.fetch(name), scored)


def build(job: WorkerSpec, checkpoint: Checkpoint | None, progress: WorkerReporter) -> TrainState:
    """The model, with a checkpoint's weights if there is one, then its engine with its state."""
    config = job.config
    model_dir = resolve_base(config)
    how = method_module(config.method)
    dtype = compute_dtype(config.model.dtype)
    model = how.build(
        model_dir,
        config.method,
        dtype=dtype,
        seed=config.train.seed,
        device="cuda" if config.scaling.use_gpu else "cpu",
    )
    progress.built(model, dtype)
    if checkpoint is not None:
        how.load(model, checkpoint.path)
    engine = make_engine(config, model)
    if checkpoint is not None:
        engine.load_state(load_file(checkpoint.path / OPTIMIZER))
    return TrainState(
        engine,
        model_dir,
        load_tokenizer(model_dir),
        open_split(job.prepared_dir, "train"),
        open_split(job.prepared_dir, "validation"),
    )


def make_engine(config: Config, model: nn.Module) -> Engine:
    """The engine of `model`, which holds the weights to go on from."""
    scaling, train = config.scaling, config.train
    if not scaling.zero_stage:
        return DataParallelEngine(
            model, make_optimizer(model, train), max_grad_norm=train.max_grad_norm
        )
    # DeepSpeed is imported where it is used: it takes seconds and may not be installed.
    from trainers.step.zero import ZeroEngine

    offload = scaling.use_gpu and scaling.offload_optimizer
    return ZeroEngine(model, train, stage=scaling.zero_stage, offload=offload)


STATE = "trainer_state.json"


def save(
    job: WorkerSpec, it: TrainState, step: int, records: Records, keeper: CheckpointManager
) -> None:
    """Write a checkpoint after `step`; the rows of the steps up to it are on disk before it is."""
    peak_gib = torch.tensor(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20)
    if job.world_size > 1:
        dist.all_reduce(peak_gib)
    records.sync()
    state = it.engine.state()
    with it.engine.gathered_weights() as model:
        if job.rank == 0:
            saved = _write(job, it, step, model, state, peak_gib=float(peak_gib), records=records)
            keeper.saved(saved)
    keeper.send_ledger()
    fail_at("after_save", step=step, rank=job.rank)


def record_missing(job: WorkerSpec, checkpoint: Checkpoint, records: Records) -> None:
    """Add the line of a checkpoint whose writer was killed before it."""
    rows = read_jsonl(job.run_dir / "checkpoints.jsonl")
    if checkpoint.path.name not in {Path(row["path"]).name for row in rows}:
        state = read_json(checkpoint.path / STATE)
        records.append("checkpoints", _row(job, checkpoint, state))


def _write(
    job: WorkerSpec,
    it: TrainState,
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


def _row(job: WorkerSpec, saved: Checkpoint, told: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "step": saved.step,
        "epoch": told["epoch"],
        "path": str(saved.path.relative_to(job.run_dir)),
        "attempt": saved.attempt,
        "num_bytes": sum(path.stat().st_size for path in saved.path.iterdir()),
        "saved_at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "peak_memory_gib": told["peak_memory_gib"],
    }
