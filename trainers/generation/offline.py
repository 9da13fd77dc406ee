"""Replies of a base or a checkpoint to any prompts, in this process and without Ray.

answer_with_model(config, model_dir, checkpoint, prompts, row_ids=ids)      # None: the base
(a GGUF file: trainers/export/gguf_replies.py)
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
    """Replies of the model as in training: in 4 bits under qlora, with its adapter under lora.

    `checkpoint` None is the base without an adapter.

    Raises:
        UserError: the method does not support the base, or `model.dtype` is emulated here.
    """
    method, settings = method_module(config.method), config.eval
    method.check(model_dir, config.method)
    torch.set_num_threads(num_cores())
    model = build_model(config, model_dir)
    if checkpoint is not None:
        method.load(model, checkpoint)
    # Only an adapter has to be disabled; under `full` the model as built is the base.
    has_fresh_adapter = isinstance(model, PeftModel) and checkpoint is None
    with method.untuned(model) if has_fresh_adapter else nullcontext():
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
        UserError: it is missing or damaged; the message lists the checkpoints of the run.
    """
    saved = list_checkpoints(run_dir / "checkpoints")
    paths = [c.path for c in saved if name in (step_name(c.step), c.path.name)]
    reasons = []
    for path in paths:
        if (reason := damage(path)) is None:
            return path
        reasons.append(f"; {path.name} is damaged: {reason}")
    known = ", ".join(sorted({step_name(c.step) for c in saved})) or "none"
    raise UserError(
        f"--checkpoint: {run_dir} has no valid checkpoint {name}{''.join(reasons)}; it has: {known}"
    )
