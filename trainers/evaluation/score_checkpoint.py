"""Score a checkpoint or a baseline (base, few_shot, constant) of a run, by its name.

inputs = EvalInputs(model, tokenizer, model_dir, train, validation)
score_checkpoint(config, inputs, "step-000140", run_dir=run_dir)

All training workers take part in it, or a scoring actor does it alone (scoring_actor.py).
"""

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

import torch.distributed as dist
from transformers.tokenization_utils_base import PreTrainedTokenizerBase

from datasets_src.chat.families import PRESETS
from datasets_src.prepared.store import Split
from datasets_src.task import load_task
from datasets_src.types import Score
from trainers.config.schema import Config
from trainers.evaluation.evaluate import EvalSpec, ReplyContext, constant_score, evaluate
from trainers.evaluation.few_shot import few_shot_of_run
from trainers.generation.replies import stop_strings
from trainers.methods.choose import method_module
from trainers.models.load import LanguageModel
from trainers.run.scores import CONSTANT, FEW_SHOT
from trainers.storage.checkpoints import step_of_score

OnBatch = Callable[[int], object]


@dataclass(frozen=True)
class EvalInputs:
    """The model to score, and the splits it is scored on and prompted from."""

    model: LanguageModel
    tokenizer: PreTrainedTokenizerBase
    model_dir: Path
    train: Split
    validation: Split


def score_checkpoint(
    config: Config,
    inputs: EvalInputs,
    name: str,
    *,
    run_dir: Path,
    on_batch: OnBatch = lambda done: None,
    together: ReplyContext = nullcontext,
) -> Score | None:
    """The score of `name`; None on ranks other than 0, and where the run has no such baseline.

    Args:
        inputs: its model holds the weights of the checkpoint `name`; for a baseline they are put
            aside meanwhile.
        on_batch, together: as of `evaluate`.
    """
    spec = eval_spec(config, name, run_dir=run_dir)
    task = load_task(config.data.task)
    if name == CONSTANT:
        if dist.is_initialized() and dist.get_rank():
            return None
        train, validation = (
            [split.example(i) for i in range(len(split))]
            for split in (inputs.train, inputs.validation)
        )
        return constant_score(train, validation, task=task, spec=spec)
    prompts_of = None
    if name == FEW_SHOT:
        few_shot = few_shot_of_run(config, inputs.model_dir, inputs.train, inputs.validation)
        if few_shot is None or few_shot.prompts_of is None:
            return None
        prompts_of = few_shot.prompts_of
    untuned = method_module(config.method).untuned
    with untuned(inputs.model) if spec.step is None else nullcontext():
        inputs.model.eval()
        return evaluate(
            inputs.model,
            inputs.tokenizer,
            inputs.validation,
            task=task,
            spec=spec,
            prompts_of=prompts_of,
            on_batch=on_batch,
            together=together,
        )


def eval_spec(config: Config, name: str, *, run_dir: Path) -> EvalSpec:
    """How the config evaluates `name`."""
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
