"""The training loop, as each Ray Train worker runs it, from the first line to the last.

for step in plan: train_step -> metrics.jsonl;  at a save: checkpoint -> replies -> scores.jsonl
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

import torch

from datasets_src.batching.plan import steps_per_epoch
from datasets_src.prepared.store import Split
from datasets_src.types import StepPlan
from trainers.evaluation.score_checkpoint import EvalInputs, score_checkpoint
from trainers.process.failpoints import fail_at
from trainers.run.checkpoint_manager import CheckpointManager
from trainers.run.records import Records, open_records
from trainers.run.scores import best_step, first_names, read_scores
from trainers.step.micro_batches import share_of_step
from trainers.step.packing import num_target_tokens
from trainers.step.plan import make_plan, save_steps
from trainers.step.schedule import learning_rate
from trainers.step.train_step import NonFiniteError, train_step
from trainers.storage.checkpoints import step_name, step_of_score
from trainers.storage.mirror import Mirror
from trainers.supervision.orders import Command, Report, no_op_report
from trainers.supervision.reporter import Preempted, WorkerReporter
from trainers.train_state import (
    ResumePoint,
    TrainState,
    WorkerSpec,
    build,
    find_resume_point,
    record_missing,
    save,
)


@dataclass(frozen=True)
class RunSinks:
    """Who hears of what a worker does: the driver, the run's records, the keeper of checkpoints."""

    progress: WorkerReporter
    records: Records
    keeper: CheckpointManager


def run(job: WorkerSpec, tell: Report = no_op_report, mirror: Mirror | None = None) -> bool:
    """Train from the newest valid checkpoint to the plan's end, or to `job.until`.

    False if ordered to leave before.

    `tell` is called a few times a second with this worker's progress, and gives the order. The run
    directory follows `mirror`'s store if there is one.
    """
    torch.set_num_threads(job.num_threads)
    progress = WorkerReporter(tell, rank=job.rank, world_size=job.world_size)
    ledger = f"ledger/{job.attempt}-rank{job.rank}.jsonl"
    with CheckpointManager(job.run_dir, mirror, ledger=ledger, rank=job.rank) as keeper:
        start = find_resume_point(job, keeper)
        it = build(job, start.checkpoint, progress)
        with open_records(
            job.run_dir,
            ledger=ledger,
            rank=job.rank,
            after=start.step,
            with_scores=not job.config.eval.num_eval_workers,
        ) as records:
            if start.checkpoint is not None and job.rank == 0:
                record_missing(job, start.checkpoint, records)
            try:
                return _run_plan(job, it, start, RunSinks(progress, records, keeper))
            except Preempted:
                return False


def _run_plan(job: WorkerSpec, it: TrainState, start: ResumePoint, listeners: RunSinks) -> bool:
    plan = make_plan(job.config, it.train)
    saves = save_steps(job.config, it.train, len(plan))
    beside = job.config.eval.num_eval_workers > 0 or not job.scored
    if not beside:
        _score_what_is_missing(job, it, start, saves, listeners)
    if listeners.progress.agreed() == Command.SAVE_AND_LEAVE:
        return False
    end = len(plan) if job.until is None else job.until
    for step in plan[start.step : end]:
        _train(job, it, step, len(plan), listeners)
        order = listeners.progress.agreed()
        saved = step.step in saves or step.step == end or order == Command.SAVE_AND_LEAVE
        if saved:
            listeners.progress.saving(step.step)
            save(job, it, step.step, listeners.records, listeners.keeper)
        # A save that only an order or `until` asked for is never scored: what is chosen from must
        # not depend on when a run was interrupted.
        last = step.step == end
        if order == Command.SAVE_AND_LEAVE or (
            saved and order == Command.LEAVE_AFTER_SAVE and not last
        ):
            return False
        if step.step in saves:
            if not beside:
                _evaluate(job, it, step_name(step.step), listeners)
            _prune(job, step.step, saves, listeners.keeper)
    return True


def _score_what_is_missing(
    job: WorkerSpec, it: TrainState, start: ResumePoint, saves: set[int], listeners: RunSinks
) -> None:
    """What stands beside the checkpoints, at first; a save whose replies were cut off."""
    for name in first_names(job.config):
        if name not in start.scored:
            _evaluate(job, it, name, listeners)
    if start.step in saves and step_name(start.step) not in start.scored:
        _evaluate(job, it, step_name(start.step), listeners)
        _prune(job, start.step, saves, listeners.keeper)


def _train(
    job: WorkerSpec, it: TrainState, step: StepPlan, total_steps: int, listeners: RunSinks
) -> None:
    started, train = time.monotonic(), job.config.train
    fail_at("before_step", step=step.step, rank=job.rank)
    rows = [it.train.tokens(i) for i in step.rows]
    share = share_of_step(rows, job.config, rank=job.rank, world_size=job.world_size)
    rate = learning_rate(
        step.step,
        peak=train.learning_rate,
        total_steps=total_steps,
        warmup_steps=train.warmup_steps,
        kind=train.lr_scheduler_type,
        decay_steps=train.decay_steps,
        step_rules=train.step_rules,
    )
    num_targets = sum(num_target_tokens(len(row.input_ids), row.prompt_len) for row in rows)
    try:
        loss, norm = train_step(
            it.engine,
            listeners.progress.while_taking(share.batches),
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
    fail_at("after_step", step=step.step, rank=job.rank)
    facts = {
        "loss": loss,
        "learning_rate": rate,
        "grad_norm": norm,
        "num_tokens": sum(len(row.input_ids) for row in rows),
        "num_packed_tokens": share.num_packed_tokens,
        "num_target_tokens": num_targets,
        "num_examples": len(rows),
        "step_time_s": round(time.monotonic() - started, 4),
    }
    _record_step(job, it, step.step, share.ids, facts, listeners.records)
    listeners.progress.trained(step.step, total_steps, loss)


def _record_step(
    job: WorkerSpec,
    it: TrainState,
    step: int,
    ids: Sequence[str],
    facts: Mapping[str, float],
    records: Records,
) -> None:
    """This worker's row of the ledger, and rank 0's row of metrics.jsonl."""
    # As hex, the loss can be compared bit by bit.
    row = {"attempt": job.attempt, "rank": job.rank, "step": step, "ids": ids}
    records.append("ledger", row | {"loss": facts["loss"].hex()})
    if job.rank == 0:
        epoch = step / steps_per_epoch(len(it.train), job.config.train.train_batch_size)
        metrics = {"step": step, "epoch": round(epoch, 4), **facts, "attempt": job.attempt}
        records.append("metrics", metrics)


def _evaluate(job: WorkerSpec, it: TrainState, name: str, listeners: RunSinks) -> None:
    """Score a checkpoint, or what stands beside them, on all workers together."""
    step = step_of_score(name)
    listeners.progress.answering(name, _share_size(it.validation, job))
    fail_at("during_evaluation", step=step, rank=job.rank)
    with it.engine.gathered_weights() as model:
        score = score_checkpoint(
            job.config,
            EvalInputs(model, it.tokenizer, it.model_dir, it.train, it.validation),
            name,
            run_dir=job.run_dir,
            on_batch=listeners.progress.answered,
            together=listeners.progress.together,
        )
    if score is not None:
        listeners.records.append("scores", asdict(score))
        fail_at("after_score", step=step, rank=job.rank)
        listeners.progress.scored(score)


def _prune(job: WorkerSpec, step: int, saves: set[int], keeper: CheckpointManager) -> None:
    """Delete what is neither new nor the best, nor waits for its score."""
    if job.rank == 0:
        scored = {score.step for score in read_scores(job.run_dir)}
        best = best_step(job.run_dir)
        waiting = {save for save in saves if save <= step and job.scored} - scored
        keeper.prune(
            keep=job.config.checkpoint.save_total_limit,
            also=waiting if best is None else waiting | {best},
        )
        fail_at("after_prune", step=step)


def _share_size(split: Split, job: WorkerSpec) -> int:
    shares: Sequence[int] = range(job.rank, len(split), job.world_size)
    return len(shares)
