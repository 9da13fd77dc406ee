"""The training loop, as each Ray Train worker runs it, from the first line to the last.

for step in plan: train_step -> metrics.jsonl;  at a save: checkpoint -> replies -> scores.jsonl
"""

import resource
import time
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.distributed as dist
from safetensors.torch import load_file, save_file
from transformers.tokenization_utils_base import PreTrainedTokenizerBase

from datasets_src.plan import steps_per_epoch
from datasets_src.store import Split, open_split
from datasets_src.task import load_task
from datasets_src.types import StepPlan
from trainers.checkpoints import (
    Checkpoint,
    newest_valid,
    prune,
    save_checkpoint,
    step_name,
)
from trainers.config import Config
from trainers.engine import make_engine
from trainers.evaluate import EvalJob, evaluate, record_constant
from trainers.methods.choose import method_module
from trainers.micro_batches import share_of_step
from trainers.model import LanguageModel, compute_dtype, load_tokenizer, resolve_model
from trainers.optimizer import FILE as OPTIMIZER
from trainers.packing import num_target_tokens
from trainers.progress import Progress
from trainers.run_dir import append_jsonl, read_jsonl, write_json, write_jsonl
from trainers.run_plan import make_plan, save_steps
from trainers.schedule import learning_rate
from trainers.scores import best_step, find_score
from trainers.step import Engine, NonFiniteError, train_step


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


@dataclass(frozen=True)
class Trainee:
    """What a worker trains, and on what."""

    engine: Engine
    tokenizer: PreTrainedTokenizerBase
    train: Split
    validation: Split


def run(job: Job) -> None:
    """Train from the newest valid checkpoint to the end of the plan."""
    torch.set_num_threads(job.num_threads)
    config, progress = job.config, Progress(job.run_dir, active=job.rank == 0)
    checkpoint = _newest(job)
    start = 0 if checkpoint is None else checkpoint.step
    it = _build(job, checkpoint, progress)
    plan = make_plan(config, it.train)
    saves = save_steps(config, it.train, len(plan))
    if job.rank == 0:
        _forget_after(job.run_dir, start)
    if config.eval.eval_on_start and find_score(job.run_dir, "base") is None:
        _evaluate_base(job, it, progress)
    if start and find_score(job.run_dir, step_name(start)) is None:
        _evaluate(job, it, start, progress)
    for step in plan[start:]:
        _train(job, it, step, len(plan), progress)
        if step.step in saves:
            _save(job, it, step)
            _evaluate(job, it, step.step, progress)
            if job.rank == 0:
                best = best_step(job.run_dir)
                prune(
                    job.run_dir / "checkpoints",
                    keep=config.checkpoint.save_total_limit,
                    also=[] if best is None else [best],
                )


def _build(job: Job, checkpoint: Checkpoint | None, progress: Progress) -> Trainee:
    """The model, with a checkpoint's weights if there is one, then its engine with its state."""
    config = job.config
    model_dir = resolve_model(config.model.model_name_or_path, config.model.model_revision)
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
        load_tokenizer(model_dir),
        open_split(job.prepared_dir, "train"),
        open_split(job.prepared_dir, "validation"),
    )


def _newest(job: Job) -> Checkpoint | None:
    """The newest valid checkpoint, chosen by rank 0."""
    chosen: list[Checkpoint | None] = [None]
    if job.rank == 0:
        chosen = [newest_valid(job.run_dir / "checkpoints")]
    if job.world > 1:
        dist.broadcast_object_list(chosen)
    return chosen[0]


def _forget_after(run_dir: Path, step: int) -> None:
    """Drop records of steps that are done again: one line a step, whatever was killed."""
    for name in ("metrics.jsonl", "checkpoints.jsonl", "scores.jsonl"):
        rows = list(read_jsonl(run_dir / name))
        if rows:
            write_jsonl(run_dir / name, [r for r in rows if (r["step"] or 0) <= step])


def _train(job: Job, it: Trainee, step: StepPlan, total_steps: int, progress: Progress) -> None:
    started, train = time.monotonic(), job.config.train
    rows = [it.train.tokens(i) for i in step.rows]
    pairs, num_packed_tokens = share_of_step(rows, job.config, rank=job.rank, world=job.world)
    rate = learning_rate(
        step.step,
        peak=train.learning_rate,
        total_steps=total_steps,
        warmup_steps=train.warmup_steps,
        kind=train.lr_scheduler_type,
    )
    num_targets = sum(num_target_tokens(len(row.input_ids), row.prompt_len) for row in rows)
    try:
        loss, norm = train_step(
            it.engine,
            pairs,
            num_targets=num_targets,
            learning_rate=rate,
            seed=(train.seed, step.step),
        )
    except NonFiniteError as error:
        ids = ", ".join(row.id for row in rows)
        raise NonFiniteError(
            f"step {step.step}: {error}; rows {ids}; the last checkpoint stands; "
            "lower learning_rate or look at these rows"
        ) from None
    if job.rank == 0:
        epoch = step.step / steps_per_epoch(len(it.train), train.train_batch_size)
        append_jsonl(
            job.run_dir / "metrics.jsonl",
            {
                "step": step.step,
                "epoch": round(epoch, 4),
                "loss": loss,
                "learning_rate": rate,
                "grad_norm": norm,
                "num_tokens": sum(len(row.input_ids) for row in rows),
                "num_packed_tokens": num_packed_tokens,
                "num_target_tokens": num_targets,
                "num_examples": len(rows),
                "step_time_s": round(time.monotonic() - started, 4),
                "attempt": job.attempt,
            },
        )
        progress.trained(step.step, total_steps, loss)


def _save(job: Job, it: Trainee, step: StepPlan) -> None:
    peak_gib = torch.tensor(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20)
    if job.world > 1:
        dist.all_reduce(peak_gib)
    # Both are put together by all workers where each holds a part.
    state = it.engine.state()
    with it.engine.whole() as model:
        if job.rank == 0:
            _write(job, it, step, model, state, float(peak_gib))


def _write(
    job: Job,
    it: Trainee,
    step: StepPlan,
    model: LanguageModel,
    state: Mapping[str, torch.Tensor],
    peak_gib: float,
) -> None:
    train = job.config.train
    epoch = round(step.step / steps_per_epoch(len(it.train), train.train_batch_size), 4)

    how = method_module(job.config.method)

    def write(folder: Path) -> None:
        how.save(model, folder, base_name=job.config.model.model_name_or_path)
        save_file(dict(state), folder / OPTIMIZER)
        write_json(folder / "trainer_state.json", {"step": step.step, "epoch": epoch})

    saved = save_checkpoint(
        job.run_dir / "checkpoints", step=step.step, attempt=job.attempt, write=write
    )
    append_jsonl(
        job.run_dir / "checkpoints.jsonl",
        {
            "step": step.step,
            "epoch": epoch,
            "path": str(saved.path.relative_to(job.run_dir)),
            "attempt": job.attempt,
            "num_bytes": sum(path.stat().st_size for path in saved.path.iterdir()),
            "saved_at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            "peak_memory_gib": round(peak_gib, 3),
        },
    )


def _evaluate_base(job: Job, it: Trainee, progress: Progress) -> None:
    """Score the untuned base (what was trained set aside) and the best constant answer."""
    _evaluate(job, it, None, progress)
    if job.rank == 0:
        train, validation = (
            [split.example(i) for i in range(len(split))] for split in (it.train, it.validation)
        )
        task = load_task(job.config.data.task)
        record_constant(train, validation, task=task, job=eval_job(job, "constant", None))


def _evaluate(job: Job, it: Trainee, step: int | None, progress: Progress) -> None:
    name = "base" if step is None else step_name(step)
    progress.answering(name, _share_size(it.validation, job))
    how = method_module(job.config.method)
    with it.engine.whole() as model, how.untuned(model) if step is None else nullcontext():
        model.eval()
        score = evaluate(
            model,
            it.tokenizer,
            it.validation,
            task=load_task(job.config.data.task),
            job=eval_job(job, name, step),
            on_batch=progress.answered,
        )
    if score is not None:
        progress.scored(score)


def eval_job(job: Job, name: str, step: int | None) -> EvalJob:
    """The evaluation of this run's rows under `name`."""
    task, settings = load_task(job.config.data.task), job.config.eval
    return EvalJob(
        name=name,
        step=step,
        run_dir=job.run_dir,
        metric=settings.metric_for_best_model or task.METRIC,
        max_new_tokens=settings.max_new_tokens,
        batch_size=settings.eval_batch_size,
        stop=task.STOP if job.config.data.template == "plain" else (),
    )


def _share_size(split: Split, job: Job) -> int:
    shares: Sequence[int] = range(job.rank, len(split), job.world)
    return len(shares)
