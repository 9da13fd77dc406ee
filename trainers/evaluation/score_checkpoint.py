"""One score of a run, made for a name: the base, by a good prompt, a constant answer, a checkpoint.

it = EvalInputs(model, tokenizer, model_dir, train, validation)
score_checkpoint(config, it, "step-000140", run_dir=run_dir)

Every training worker takes part in it, or an actor of its own does it alone (scoring_actors.py).
"""

import os
import sys
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from transformers.tokenization_utils_base import PreTrainedTokenizerBase

from datasets_src.chat.families import PRESETS
from datasets_src.prepared.store import Split, open_split
from datasets_src.task import load_task
from datasets_src.types import Score
from trainers.config.schema import Config
from trainers.evaluation.evaluate import EvalSpec, Together, constant_score, evaluate
from trainers.evaluation.few_shot import few_shot_of_run
from trainers.generation.replies import stop_strings
from trainers.methods.build import build_model
from trainers.methods.choose import method_module
from trainers.models.load import LanguageModel, load_tokenizer
from trainers.models.resolve import resolve_base
from trainers.run.scores import CONSTANT, FEW_SHOT
from trainers.storage.checkpoints import damage, step_of_score
from trainers.storage.manifest import DamageError

LOWEST_NICENESS = 19
OnBatch = Callable[[int], object]


@dataclass(frozen=True)
class EvalInputs:
    """A model that answers, and the rows it is asked."""

    model: LanguageModel
    tokenizer: PreTrainedTokenizerBase
    model_dir: Path
    train: Split
    validation: Split


def score_checkpoint(
    config: Config,
    it: EvalInputs,
    name: str,
    *,
    run_dir: Path,
    on_batch: OnBatch = lambda done: None,
    together: Together = nullcontext,
) -> Score | None:
    """The score of `name`; None on ranks other than 0, and where there is no such row.

    `it.model` has the weights of the checkpoint `name`; for the base they are put aside.
    """
    job = eval_job(config, name, run_dir=run_dir)
    task = load_task(config.data.task)
    if name == CONSTANT:
        if dist.is_initialized() and dist.get_rank():
            return None
        train, validation = (
            [split.example(i) for i in range(len(split))] for split in (it.train, it.validation)
        )
        return constant_score(train, validation, task=task, job=job)
    ask = None
    if name == FEW_SHOT:
        few_shot = few_shot_of_run(config, it.model_dir, it.train, it.validation)
        if few_shot is None or few_shot.ask is None:
            return None
        ask = few_shot.ask
    untuned = method_module(config.method).untuned
    with untuned(it.model) if job.step is None else nullcontext():
        it.model.eval()
        return evaluate(
            it.model,
            it.tokenizer,
            it.validation,
            task=task,
            job=job,
            ask=ask,
            on_batch=on_batch,
            together=together,
        )


def eval_job(config: Config, name: str, *, run_dir: Path) -> EvalSpec:
    """The evaluation of a run's rows under `name`."""
    task, settings = load_task(config.data.task), config.eval
    return EvalSpec(
        name=name,
        step=step_of_score(name),
        run_dir=run_dir,
        metric=settings.metric_for_best_model or task.METRIC,
        max_new_tokens=settings.max_new_tokens,
        batch_size=settings.eval_batch_size,
        stop=stop_strings(config),
        preset=PRESETS[settings.generation_preset],
        seed=config.train.seed,
        greater_is_better=settings.chooses_greatest,
        max_tokens=config.train.max_tokens_per_micro_batch,
        min_share=config.train.min_share,
    )


def give_way() -> None:
    """From here on this thread, and what it starts, runs where nobody else wants to.

    To what wakes up meanwhile (Ray's own processes), the kernel shows such a core as an idle one,
    so that it leaves training's alone. A high nice value does not do that.
    """
    if sys.platform == "linux":
        os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
    else:
        os.nice(LOWEST_NICENESS)


class ScoringActor:
    """An actor with a model of its own, which takes on one checkpoint after another.

    One that is there `beside` training takes of a core what nobody else wants.
    """

    def __init__(
        self,
        config: dict[str, Any],
        run_dir: str,
        prepared_dir: str,
        num_threads: int,
        *,
        beside: bool = False,
    ) -> None:
        if beside:
            give_way()
        torch.set_num_threads(num_threads)
        self._config, self._run_dir = Config.model_validate(config), Path(run_dir)
        model_dir = resolve_base(self._config)
        model = build_model(self._config, model_dir)
        splits = [open_split(Path(prepared_dir), name) for name in ("train", "validation")]
        self._it = EvalInputs(model, load_tokenizer(model_dir), model_dir, *splits)

    def score(self, name: str, checkpoint: str | None) -> Score | None:
        """Answer for `name`, whose weights are in `checkpoint`.

        Raises:
            DamageError: those are not what was written.
        """
        if checkpoint is not None:
            if (reason := damage(Path(checkpoint))) is not None:
                raise DamageError(reason)
            method_module(self._config.method).load(self._it.model, Path(checkpoint))
        return score_checkpoint(self._config, self._it, name, run_dir=self._run_dir)
