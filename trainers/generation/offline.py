"""Replies of a base, a checkpoint or a GGUF file to any prompts, in this process and without Ray.

answer_with_model(config, model_dir, checkpoint, prompts, row_ids=ids)      # None: the base
answer_with_gguf(Path("demo-q8_0.gguf"), config, model_dir, prompts)
"""

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from pathlib import Path

import torch
from peft import PeftModel

from datasets_src.chat.families import PRESETS
from datasets_src.errors import UserError
from trainers.config.schema import Config
from trainers.generation.replies import Reply, stop_strings
from trainers.generation.sampling import preset_replies
from trainers.methods.build import build_model
from trainers.methods.choose import method_module
from trainers.models.load import load_tokenizer
from trainers.process.machine import num_cores
from trainers.storage.checkpoints import damage, list_checkpoints, step_name

OnBatch = Callable[[int], object]


def answer_with_model(
    config: Config,
    model_dir: Path,
    checkpoint: Path | None,
    prompts: Sequence[Sequence[int]],
    *,
    row_ids: Sequence[str],
    on_batch: OnBatch = lambda done: None,
) -> list[Reply]:
    """Replies of the model as it is trained: under qlora in 4 bits, under lora with its adapter."""
    method, settings = method_module(config.method), config.eval
    method.check(model_dir, config.method)
    torch.set_num_threads(num_cores())
    model = build_model(config, model_dir)
    if checkpoint is not None:
        method.load(model, checkpoint)
    # A model without an adapter is its base as it was built.
    adapted = isinstance(model, PeftModel) and checkpoint is None
    with method.untuned(model) if adapted else nullcontext():
        return preset_replies(
            model.eval(),
            load_tokenizer(model_dir),
            prompts,
            row_ids=row_ids,
            preset=PRESETS[settings.generation_preset],
            seed=config.train.seed,
            max_new_tokens=settings.max_new_tokens,
            stop=stop_strings(config),
            batch_size=settings.eval_batch_size,
            on_batch=on_batch,
        )


def find_checkpoint(run_dir: Path, name: str) -> Path:
    """The directory of the checkpoint `name` ("step-000140") of a run.

    Raises:
        UserError: it is not there, or not whole; those that are there are named.
    """
    saved = list_checkpoints(run_dir / "checkpoints")
    paths = [c.path for c in saved if name in (step_name(c.step), c.path.name)]
    reasons = []
    for path in paths:
        if (reason := damage(path)) is None:
            return path
        reasons.append(f"; {path.name} is damaged: {reason}")
    there = ", ".join(sorted({step_name(c.step) for c in saved})) or "none"
    raise UserError(f"--checkpoint: {name} is not in {run_dir}{''.join(reasons)}; there: {there}")
