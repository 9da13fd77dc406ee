"""Evaluate a model on the validation rows: every worker generates its share, rank 0 scores.

score = evaluate(model, tokenizer, split, task=task, spec=spec)     # None on ranks other than 0

By default evaluation runs on the training workers: the base is already in their memory, and on CPU
separate evaluation processes would compete with training for the same cores.
"""

import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import torch.distributed as dist
from transformers.tokenization_utils_base import PreTrainedTokenizerBase

from datasets_src.chat.families import PRESETS, Preset
from datasets_src.chat.thinking import count_thinking
from datasets_src.prepared.store import Split
from datasets_src.scoring.score import (
    best_constant,
    explain_replies,
    score_replies,
    summarise,
)
from datasets_src.task import EVAL_LOSS, Task
from datasets_src.types import Example, Score, TokenizedExample
from trainers.evaluation.eval_loss import row_losses
from trainers.generation.replies import Reply
from trainers.generation.sampling import preset_replies
from trainers.models.load import LanguageModel
from trainers.storage.json_files import write_jsonl

PerRow = TypeVar("PerRow")
PromptsOf = Callable[[Sequence[int]], Sequence[Sequence[int]]]  # row indices -> prompt token ids
ReplyContext = Callable[[], AbstractContextManager[object]]


@dataclass(frozen=True)
class EvalSpec:
    """What is evaluated, how, and where its records go.

    Attributes:
        max_tokens, min_share: limits of a micro-batch, for `eval_loss`.
    """

    name: str
    step: int | None
    run_dir: Path
    metric: str
    max_new_tokens: int
    batch_size: int
    stop: tuple[str, ...]
    greater_is_better: bool = True
    max_tokens: int = 4096
    min_share: int = 8
    preset: Preset = PRESETS["greedy"]
    seed: int = 0


def evaluate(
    model: LanguageModel,
    tokenizer: PreTrainedTokenizerBase,
    split: Split,
    *,
    task: Task,
    spec: EvalSpec,
    prompts_of: PromptsOf | None = None,
    on_batch: Callable[[int], object] = lambda done: None,
    together: ReplyContext = nullcontext,
) -> Score | None:
    """Reply to every row of `split`, score and record the replies; None on ranks other than 0.

    Losses are computed too if `eval_loss` is the metric. Collective.

    Args:
        prompts_of: prompts of rows by index; by default those of training.
        on_batch: called with the number of prompts just answered; 0 after a part of the losses.
        together: context manager around this worker's share of the replies.
    """
    started = time.monotonic()
    rank = dist.get_rank() if dist.is_initialized() else 0
    world_size = dist.get_world_size() if dist.is_initialized() else 1
    # Rows of similar length go to different workers, so that all shares cost about the same.
    by_length = sorted(range(len(split)), key=lambda i: (int(split.prompt_lens[i]), i))
    share = by_length[rank::world_size]
    with together():
        replies = preset_replies(
            model,
            tokenizer,
            [split.tokens(i).input_ids[: split.prompt_lens[i]] for i in share]
            if prompts_of is None
            else prompts_of(share),
            row_ids=[split.ids[i] for i in share],
            preset=spec.preset,
            seed=spec.seed,
            max_new_tokens=spec.max_new_tokens,
            stop=spec.stop,
            batch_size=spec.batch_size,
            on_batch=on_batch,
        )
        losses = _losses(model, split, spec, prompts_of, rank, world_size, on_batch)
    all_replies = _gather(dict(zip(share, replies, strict=True)), rank, world_size)
    all_losses = _gather(losses, rank, world_size)
    if all_replies is None or all_losses is None:
        return None
    examples = [split.example(i) for i in range(len(split))]
    ordered = [all_replies[i] for i in range(len(split))]
    rows = score_replies(task, examples, [reply.text for reply in ordered])
    for i, loss in all_losses.items():
        rows[i][EVAL_LOSS] = loss
    return _record(spec, task, examples, ordered, rows, time.monotonic() - started)


def constant_score(
    train: Sequence[Example], validation: Sequence[Example], *, task: Task, spec: EvalSpec
) -> Score:
    """Score the best constant reply: the baseline that ignores its input."""
    started = time.monotonic()
    text, rows = best_constant(
        task,
        train,
        validation,
        metric=spec.metric,
        greater_is_better=spec.greater_is_better,
    )
    replies = [Reply(text, (), stopped=True) for _ in validation]
    seconds = time.monotonic() - started
    return _record(spec, task, validation, replies, rows, seconds, constant_reply=text)


def _losses(
    model: LanguageModel,
    split: Split,
    spec: EvalSpec,
    prompts_of: PromptsOf | None,
    rank: int,
    world_size: int,
    on_batch: Callable[[int], object],
) -> dict[int, float]:
    """Losses of this worker's share of the rows, by index; {} unless `eval_loss` is the metric."""
    if spec.metric != EVAL_LOSS:
        return {}
    return row_losses(
        model,
        _rows_with_prompts(split, prompts_of),
        max_tokens=spec.max_tokens,
        min_share=spec.min_share,
        rank=rank,
        world_size=world_size,
        on_progress=lambda: on_batch(0),
    )


def _rows_with_prompts(split: Split, prompts_of: PromptsOf | None) -> list[TokenizedExample]:
    """All rows; `prompts_of` replaces their prompts."""
    rows = [split.tokens(i) for i in range(len(split))]
    if prompts_of is None:
        return rows
    return [
        replace(
            row,
            input_ids=(*prompt, *row.input_ids[row.prompt_len :]),
            prompt_len=len(prompt),
        )
        for row, prompt in zip(rows, prompts_of(range(len(rows))), strict=True)
    ]


def _gather(share: dict[int, PerRow], rank: int, world_size: int) -> dict[int, PerRow] | None:
    """All workers' shares by row index on rank 0, None on the others."""
    if world_size == 1:
        return share
    shares: list[dict[int, PerRow]] | None = [{} for _ in range(world_size)] if rank == 0 else None
    dist.gather_object(share, shares)
    return None if shares is None else {i: v for part in shares for i, v in part.items()}


def _record(
    spec: EvalSpec,
    task: Task,
    examples: Sequence[Example],
    replies: Sequence[Reply],
    rows: list[dict[str, float]],
    seconds: float,
    constant_reply: str | None = None,
) -> Score:
    """Write predictions/<name>.jsonl and summarise the rows' scores."""
    keys = _varying_inputs(examples)
    predictions = f"predictions/{spec.name}.jsonl"
    whys = explain_replies(task, examples, [reply.text for reply in replies], rows)
    write_jsonl(
        spec.run_dir / predictions,
        [
            {
                "id": example.id,
                "group": example.group,
                "inputs": {key: example.inputs[key] for key in keys},
                "target": example.target,
                "reply": reply.text,
                "num_tokens": len(reply.ids),
                "stopped": reply.stopped,
                "why": why,
                "scores": row,
            }
            for example, reply, why, row in zip(examples, replies, whys, rows, strict=True)
        ],
    )
    return summarise(
        spec.name,
        task=task,
        step=spec.step,
        metric=spec.metric,
        examples=examples,
        rows=rows,
        predictions=predictions,
        seconds=seconds,
        constant_reply=constant_reply,
        greater_is_better=spec.greater_is_better,
        thinking=count_thinking([reply.text for reply in replies]),
    )


def _varying_inputs(examples: Sequence[Example]) -> list[str]:
    """Inputs that differ between rows, so that a common schema or database is not repeated."""

    def distinct(key: str) -> int:
        values: list[Any] = [example.inputs[key] for example in examples]
        return len({repr(value) for value in values})

    return [key for key in examples[0].inputs if len(examples) == 1 or distinct(key) > 1]
