"""Training state: model, engine, tokenizer and data, fresh or restored from a checkpoint.

resume = find_resume_point(spec, checkpoints)
state = build_train_state(spec, resume.checkpoint, reporter)
save(state, 140, records, checkpoints)          # collective: every rank holds a part
"""

import resource
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
from trainers.methods.build import build_model
from trainers.methods.choose import method_module
from trainers.models.load import LanguageModel, compute_dtype, load_tokenizer
from trainers.models.resolve import resolve_base
from trainers.process.failpoints import fail_at
from trainers.process.machine import utc_now
from trainers.run.checkpoint_manager import CheckpointManager
from trainers.run.records import Records
from trainers.run.scores import read_scores
from trainers.step.optimizer import FILE as OPTIMIZER
from trainers.step.optimizer import make_optimizer
from trainers.step.train_step import DataParallelEngine, Engine
from trainers.storage.checkpoints import Checkpoint, save_checkpoint
from trainers.storage.json_files import read_json, read_jsonl, write_json
from trainers.supervision.reporter import WorkerReporter

STATE = "trainer_state.json"


@dataclass(frozen=True)
class WorkerSpec:
    """What a worker is started with: plain values, the same on every rank but `rank`.

    Attributes:
        until: train up to this step and save it; plan and schedule stay those of the whole run.
        scored: False if no save is scored (its validation rows were trained on).
    """

    config: Config
    run_dir: Path
    prepared_dir: Path
    attempt: str
    rank: int
    world_size: int
    num_threads: int
    until: int | None = None
    scored: bool = True


@dataclass(frozen=True)
class TrainState:
    """What a worker trains and evaluates: the engine holds model and optimizer."""

    spec: WorkerSpec
    engine: Engine
    model_dir: Path
    tokenizer: PreTrainedTokenizerBase
    train: Split
    validation: Split


@dataclass(frozen=True)
class ResumePoint:
    """Where an attempt starts; rank 0 decides, all ranks do the same."""

    checkpoint: Checkpoint | None
    scored: frozenset[str]

    @property
    def step(self) -> int:
        """The last step that is done."""
        return 0 if self.checkpoint is None else self.checkpoint.step


def find_resume_point(spec: WorkerSpec, checkpoints: CheckpointManager) -> ResumePoint:
    """The newest valid checkpoint, and the names scored up to it; collective (broadcast)."""
    found: list[tuple[str | None, frozenset[str]] | None] = [None]
    if spec.rank == 0:
        newest = checkpoints.newest()
        step = 0 if newest is None else newest.step
        names = frozenset(s.name for s in read_scores(spec.run_dir) if (s.step or 0) <= step)
        found = [(None if newest is None else newest.path.name, names)]
    if spec.world_size > 1:
        dist.broadcast_object_list(found)
    assert found[0] is not None
    name, scored = found[0]
    return ResumePoint(None if name is None else checkpoints.fetch(name), scored)


def build_train_state(
    spec: WorkerSpec, checkpoint: Checkpoint | None, reporter: WorkerReporter
) -> TrainState:
    """Build the model, load the checkpoint's weights if there is one, then its optimizer state."""
    config = spec.config
    model_dir = resolve_base(config)
    method = method_module(config.method)
    model = build_model(config, model_dir)
    reporter.model_built(model, compute_dtype(config.model.dtype))
    if checkpoint is not None:
        method.load(model, checkpoint.path)
    engine = make_engine(config, model)
    if checkpoint is not None:
        engine.load_state(load_file(checkpoint.path / OPTIMIZER))
    return TrainState(
        spec,
        engine,
        model_dir,
        load_tokenizer(model_dir),
        open_split(spec.prepared_dir, "train"),
        open_split(spec.prepared_dir, "validation"),
    )


def make_engine(config: Config, model: nn.Module) -> Engine:
    """The engine that the config asks for: replicated (train_step.py) or ZeRO (zero.py)."""
    scaling, train = config.scaling, config.train
    if not scaling.zero_stage:
        optimizer = make_optimizer(model, train)
        return DataParallelEngine(model, optimizer, max_grad_norm=train.max_grad_norm)
    # DeepSpeed is imported only if used: it takes seconds and may not be installed.
    from trainers.step.zero import ZeroEngine

    offload = scaling.use_gpu and scaling.offload_optimizer
    return ZeroEngine(model, train, stage=scaling.zero_stage, offload=offload)


def save(state: TrainState, step: int, records: Records, checkpoints: CheckpointManager) -> None:
    """Write the checkpoint of `step`, after the records of the steps up to it are on disk.

    Collective.
    """
    spec = state.spec
    peak_gib = torch.tensor(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20)
    if spec.world_size > 1:
        dist.all_reduce(peak_gib)
    records.sync()
    optimizer_state = state.engine.state()
    with state.engine.gathered_weights() as model:
        if spec.rank == 0:
            saved = _write(
                state, step, model, optimizer_state, peak_gib=float(peak_gib), records=records
            )
            checkpoints.saved(saved)
    checkpoints.send_ledger()
    fail_at("after_save", step=step, rank=spec.rank)


def record_missing(spec: WorkerSpec, checkpoint: Checkpoint, records: Records) -> None:
    """Add the line of a checkpoint whose writer was killed before it wrote that line."""
    rows = read_jsonl(spec.run_dir / "checkpoints.jsonl")
    if checkpoint.path.name not in {Path(row["path"]).name for row in rows}:
        records.append("checkpoints", _row(spec, checkpoint, read_json(checkpoint.path / STATE)))


def _write(
    state: TrainState,
    step: int,
    model: LanguageModel,
    optimizer_state: Mapping[str, torch.Tensor],
    *,
    peak_gib: float,
    records: Records,
) -> Checkpoint:
    spec = state.spec
    batch_size = spec.config.train.train_batch_size
    trainer_state = {
        "step": step,
        "epoch": round(step / steps_per_epoch(len(state.train), batch_size), 4),
        "peak_memory_gib": round(peak_gib, 3),
    }
    method = method_module(spec.config.method)

    def write(folder: Path) -> None:
        method.save(model, folder, base_name=spec.config.model.model_name_or_path)
        save_file(dict(optimizer_state), folder / OPTIMIZER)
        write_json(folder / STATE, trainer_state)

    saved = save_checkpoint(
        spec.run_dir / "checkpoints", step=step, attempt=spec.attempt, write=write
    )
    records.append("checkpoints", _row(spec, saved, trainer_state))
    fail_at("after_record", step=step, rank=spec.rank)
    return saved


def _row(spec: WorkerSpec, saved: Checkpoint, trainer_state: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "step": saved.step,
        "epoch": trainer_state["epoch"],
        "path": str(saved.path.relative_to(spec.run_dir)),
        "attempt": saved.attempt,
        "num_bytes": sum(path.stat().st_size for path in saved.path.iterdir()),
        "saved_at": utc_now(),
        "peak_memory_gib": trainer_state["peak_memory_gib"],
    }
