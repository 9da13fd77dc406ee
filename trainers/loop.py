"""The training loop, as every Ray Train worker runs it, from the first step to the last.

for step in plan: train_step -> metrics.jsonl;  at a save: checkpoint -> replies -> scores.jsonl
"""

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass

import torch

from datasets_src.batching.plan import steps_per_epoch
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
from trainers.supervision.protocol import Command, Report, no_op_report
from trainers.supervision.reporter import Preempted, WorkerReporter
from trainers.train_state import (
    ResumePoint,
    TrainState,
    WorkerSpec,
    build_train_state,
    find_resume_point,
    record_missing,
    save,
)


@dataclass(frozen=True)
class RunSinks:
    """Where a worker writes: heartbeats to the driver, records and checkpoints to the run."""

    reporter: WorkerReporter
    records: Records
    checkpoints: CheckpointManager


def run(spec: WorkerSpec, report: Report = no_op_report, mirror: Mirror | None = None) -> bool:
    """Train from the newest valid checkpoint to the end of the plan, or to `spec.until`.

    Args:
        report: called a few times a second with this worker's progress; returns the command.
        mirror: the object store that the run directory is synchronised with, if any.
    Returns:
        False if the driver commanded an earlier exit.
    """
    torch.set_num_threads(spec.num_threads)
    with open_run(spec, report, mirror) as (state, resume, sinks), suppress(Preempted):
        plan = make_plan(spec.config, state.train)
        saves = save_steps(spec.config, state.train, len(plan))
        scored_here = spec.scored and not spec.config.eval.num_eval_workers
        if scored_here:
            score_missing(state, resume, saves, sinks)
        if sinks.reporter.agreed_command() == Command.SAVE_AND_EXIT:
            return False
        end = len(plan) if spec.until is None else spec.until
        for step in plan[resume.step : end]:
            train_one_step(state, step, len(plan), sinks)
            command = sinks.reporter.agreed_command()
            is_last = step.step == end
            saved = step.step in saves or is_last or command == Command.SAVE_AND_EXIT
            if saved:
                sinks.reporter.saving(step.step)
                save(state, step.step, sinks.records, sinks.checkpoints)
            # A save that only a command or `until` asked for is never scored: the candidates for
            # the best checkpoint must not depend on when a run was interrupted.
            exit_here = command == Command.EXIT_AFTER_SAVE and saved and not is_last
            if command == Command.SAVE_AND_EXIT or exit_here:
                return False
            if step.step in saves:
                if scored_here:
                    evaluate(state, step_name(step.step), sinks)
                prune(state, step.step, saves, sinks.checkpoints)
        return True
    return False


@contextmanager
def open_run(
    spec: WorkerSpec, report: Report, mirror: Mirror | None
) -> Iterator[tuple[TrainState, ResumePoint, RunSinks]]:
    """The state at the newest checkpoint, and the open files and uploads of this worker."""
    reporter = WorkerReporter(report, rank=spec.rank, world_size=spec.world_size)
    ledger = f"ledger/{spec.attempt}-rank{spec.rank}.jsonl"
    with CheckpointManager(spec.run_dir, mirror, ledger=ledger, rank=spec.rank) as checkpoints:
        resume = find_resume_point(spec, checkpoints)
        state = build_train_state(spec, resume.checkpoint, reporter)
        with open_records(
            spec.run_dir,
            ledger=ledger,
            rank=spec.rank,
            after=resume.step,
            with_scores=not spec.config.eval.num_eval_workers,
        ) as records:
            if resume.checkpoint is not None and spec.rank == 0:
                record_missing(spec, resume.checkpoint, records)
            yield state, resume, RunSinks(reporter, records, checkpoints)


def score_missing(state: TrainState, resume: ResumePoint, saves: set[int], sinks: RunSinks) -> None:
    """Score the baselines at the start, and a save whose scoring was interrupted."""
    for name in first_names(state.spec.config):
        if name not in resume.scored:
            evaluate(state, name, sinks)
    if resume.step in saves and step_name(resume.step) not in resume.scored:
        evaluate(state, step_name(resume.step), sinks)
        prune(state, resume.step, saves, sinks.checkpoints)


def train_one_step(state: TrainState, step: StepPlan, total_steps: int, sinks: RunSinks) -> None:
    """Take one optimizer step of the plan and record it."""
    started, spec, train = time.monotonic(), state.spec, state.spec.config.train
    fail_at("before_step", step=step.step, rank=spec.rank)
    rows = [state.train.tokens(i) for i in step.rows]
    share = share_of_step(rows, spec.config, rank=spec.rank, world_size=spec.world_size)
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
            state.engine,
            sinks.reporter.each(share.batches),
            num_targets=num_targets,
            learning_rate=rate,
            seed=(train.seed, step.step),
        )
    except NonFiniteError as error:
        ids = ", ".join(row.id for row in rows)
        raise NonFiniteError(
            f"step {step.step}: {error}; rows {ids}; the last checkpoint is kept; lower "
            "learning_rate or inspect these rows"
        ) from None
    fail_at("after_step", step=step.step, rank=spec.rank)
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
    _record_step(state, step.step, share.ids, facts, sinks.records)
    sinks.reporter.step_done(step.step, total_steps, loss)


def _record_step(
    state: TrainState, step: int, ids: Sequence[str], facts: Mapping[str, float], records: Records
) -> None:
    """This worker's row of the ledger, and rank 0's row of metrics.jsonl."""
    spec = state.spec
    # As hex, losses can be compared bit by bit.
    row = {"attempt": spec.attempt, "rank": spec.rank, "step": step, "ids": ids}
    records.append("ledger", row | {"loss": facts["loss"].hex()})
    if spec.rank == 0:
        epoch = step / steps_per_epoch(len(state.train), spec.config.train.train_batch_size)
        metrics = {"step": step, "epoch": round(epoch, 4), **facts, "attempt": spec.attempt}
        records.append("metrics", metrics)


def evaluate(state: TrainState, name: str, sinks: RunSinks) -> None:
    """Score a checkpoint or a baseline, all workers together."""
    spec, step = state.spec, step_of_score(name)
    share: Sequence[int] = range(spec.rank, len(state.validation), spec.world_size)
    sinks.reporter.generating(name, len(share))
    fail_at("during_evaluation", step=step, rank=spec.rank)
    with state.engine.gathered_weights() as model:
        score = score_checkpoint(
            spec.config,
            EvalInputs(model, state.tokenizer, state.model_dir, state.train, state.validation),
            name,
            run_dir=spec.run_dir,
            on_batch=sinks.reporter.replied,
            together=sinks.reporter.all_or_none,
        )
    if score is not None:
        sinks.records.append("scores", asdict(score))
        fail_at("after_score", step=step, rank=spec.rank)
        sinks.reporter.scored(score)


def prune(state: TrainState, step: int, saves: set[int], checkpoints: CheckpointManager) -> None:
    """Delete the checkpoints that are neither new, nor the best, nor waiting for their score."""
    spec = state.spec
    if spec.rank == 0:
        scored = {score.step for score in read_scores(spec.run_dir)}
        best = best_step(spec.run_dir)
        waiting = {save for save in saves if save <= step and spec.scored} - scored
        checkpoints.prune(
            keep=spec.config.checkpoint.save_total_limit,
            also=waiting if best is None else waiting | {best},
        )
        fail_at("after_prune", step=step)
