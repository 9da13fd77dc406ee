"""Score a model on the validation rows: every worker answers its share, rank 0 scores.

    evaluate(model, tokenizer, split, job=EvalSpec(name="step-000140", step=140, ...))

Evaluation runs on the training workers: the base is already in their memory, and on CPU the
cores that would answer beside training are the ones that train.
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

Of = TypeVar("Of")
Ask = Callable[[Sequence[int]], Sequence[Sequence[int]]]
Together = Callable[[], AbstractContextManager[object]]


@dataclass(frozen=True)
class EvalSpec:
    """What is evaluated and where its records go.

    `max_tokens` and `min_share` are those of a micro-batch where losses are computed.
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
    job: EvalSpec,
    ask: Ask | None = None,
    on_batch: Callable[[int], object] = lambda done: None,
    together: Together = nullcontext,
) -> Score | None:
    """Answer every row of `split` and write the replies down; None on ranks other than 0.

    `ask` gives the prompts of rows by index; without it they are those of training. The losses of
    the rows are computed where they choose. This worker's share is answered in `together()`.
    """
    started = time.monotonic()
    rank = dist.get_rank() if dist.is_initialized() else 0
    world_size = dist.get_world_size() if dist.is_initialized() else 1
    # Neighbours in length go to different workers, so that the shares cost the same.
    by_length = sorted(range(len(split)), key=lambda i: (int(split.prompt_lens[i]), i))
    mine = by_length[rank::world_size]
    with together():
        replies = preset_replies(
            model,
            tokenizer,
            [split.tokens(i).input_ids[: split.prompt_lens[i]] for i in mine]
            if ask is None
            else ask(mine),
            row_ids=[split.ids[i] for i in mine],
            preset=job.preset,
            seed=job.seed,
            max_new_tokens=job.max_new_tokens,
            stop=job.stop,
            batch_size=job.batch_size,
            on_batch=on_batch,
        )
        losses = _losses(model, split, job, ask, rank, world_size, on_batch)
    answered = _gather(dict(zip(mine, replies, strict=True)), rank, world_size)
    known = _gather(losses, rank, world_size)
    if answered is None or known is None:
        return None
    examples = [split.example(i) for i in range(len(split))]
    ordered = [answered[i] for i in range(len(split))]
    rows = score_replies(task, examples, [reply.text for reply in ordered])
    for i, loss in known.items():
        rows[i][EVAL_LOSS] = loss
    return _written(job, task, examples, ordered, rows, time.monotonic() - started)


def constant_score(
    train: Sequence[Example], validation: Sequence[Example], *, task: Task, job: EvalSpec
) -> Score:
    """Score the best constant answer: what a model that learnt nothing but one reply gets."""
    started = time.monotonic()
    text, rows = best_constant(
        task,
        train,
        validation,
        metric=job.metric,
        greater_is_better=job.greater_is_better,
    )
    replies = [Reply(text, (), stopped=True) for _ in validation]
    seconds = time.monotonic() - started
    return _written(job, task, validation, replies, rows, seconds, constant_reply=text)


def _losses(
    model: LanguageModel,
    split: Split,
    job: EvalSpec,
    ask: Ask | None,
    rank: int,
    world_size: int,
    on_batch: Callable[[int], object],
) -> dict[int, float]:
    """Of this worker's share of the rows, where they choose; else none."""
    if job.metric != EVAL_LOSS:
        return {}
    return row_losses(
        model,
        _asked(split, ask),
        max_tokens=job.max_tokens,
        min_share=job.min_share,
        rank=rank,
        world_size=world_size,
        on_part=lambda: on_batch(0),
    )


def _asked(split: Split, ask: Ask | None) -> list[TokenizedExample]:
    """The rows with the prompts that they are asked by."""
    rows = [split.tokens(i) for i in range(len(split))]
    if ask is None:
        return rows
    return [
        replace(
            row,
            input_ids=(*prompt, *row.input_ids[row.prompt_len :]),
            prompt_len=len(prompt),
        )
        for row, prompt in zip(rows, ask(range(len(rows))), strict=True)
    ]


def _gather(mine: dict[int, Of], rank: int, world_size: int) -> dict[int, Of] | None:
    if world_size == 1:
        return mine
    parts: list[dict[int, Of]] | None = [{} for _ in range(world_size)] if rank == 0 else None
    dist.gather_object(mine, parts)
    return None if parts is None else {i: of for part in parts for i, of in part.items()}


def _written(
    job: EvalSpec,
    task: Task,
    examples: Sequence[Example],
    replies: Sequence[Reply],
    rows: list[dict[str, float]],
    seconds: float,
    constant_reply: str | None = None,
) -> Score:
    shown = _varying_inputs(examples)
    predictions = f"predictions/{job.name}.jsonl"
    whys = explain_replies(task, examples, [reply.text for reply in replies], rows)
    write_jsonl(
        job.run_dir / predictions,
        [
            {
                "id": example.id,
                "group": example.group,
                "inputs": {key: example.inputs[key] for key in shown},
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
        job.name,
        task=task,
        step=job.step,
        metric=job.metric,
        examples=examples,
        rows=rows,
        predictions=predictions,
        seconds=seconds,
        constant_reply=constant_reply,
        greater_is_better=job.greater_is_better,
    )


def _varying_inputs(examples: Sequence[Example]) -> list[str]:
    """Names of the inputs that differ between rows: a schema or database is not repeated."""

    def distinct(key: str) -> int:
        values: list[Any] = [example.inputs[key] for example in examples]
        return len({repr(value) for value in values})

    return [key for key in examples[0].inputs if len(examples) == 1 or distinct(key) > 1]
