"""What a worker trains, on what, and from where: told in a Job, built from a checkpoint or anew.

it = build(job, checkpoint, progress)
"""

from dataclasses import dataclass
from pathlib import Path

import torch.distributed as dist
from safetensors.torch import load_file
from transformers.tokenization_utils_base import PreTrainedTokenizerBase

from datasets_src.store import Split, open_split
from trainers.base import resolve_base
from trainers.checkpoints import Checkpoint
from trainers.config import Config
from trainers.engine import make_engine
from trainers.keeper import Keeper
from trainers.methods.choose import method_module
from trainers.model import compute_dtype, load_tokenizer
from trainers.optimizer import FILE as OPTIMIZER
from trainers.progress import Progress
from trainers.scores import read_scores
from trainers.step import Engine


@dataclass(frozen=True)
class Job:
    """What a worker is told: all plain values, the same on every rank but `rank`."""

    config: Config
    run_dir: Path
    prepared_dir: Path
    attempt: str
    rank: int
    world: int
    num_threads: int
    # Train up to this step and save it; the plan and its schedule stay those of the whole run.
    until: int | None = None
    # Where False nobody scores what is saved: its rows were trained on.
    scored: bool = True


@dataclass(frozen=True)
class Trainee:
    """What a worker trains, and on what."""

    engine: Engine
    model_dir: Path
    tokenizer: PreTrainedTokenizerBase
    train: Split
    validation: Split


@dataclass(frozen=True)
class Start:
    """Where an attempt begins: rank 0 looks, all ranks do the same."""

    checkpoint: Checkpoint | None
    scored: frozenset[str]

    @property
    def step(self) -> int:
        """The last step that is done."""
        return 0 if self.checkpoint is None else self.checkpoint.step


def find_start(job: Job, keeper: Keeper) -> Start:
    """The newest valid checkpoint, and the names that were scored up to it."""
    found: list[tuple[str | None, frozenset[str]] | None] = [None]
    if job.rank == 0:
        newest = keeper.newest()
        step = 0 if newest is None else newest.step
        names = frozenset(s.name for s in read_scores(job.run_dir) if (s.step or 0) <= step)
        found = [(None if newest is None else newest.path.name, names)]
    if job.world > 1:
        dist.broadcast_object_list(found)
    assert found[0] is not None
    name, scored = found[0]
    return Start(None if name is None else keeper.fetch(name), scored)


def build(job: Job, checkpoint: Checkpoint | None, progress: Progress) -> Trainee:
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
    return Trainee(
        engine,
        model_dir,
        load_tokenizer(model_dir),
        open_split(job.prepared_dir, "train"),
        open_split(job.prepared_dir, "validation"),
    )
