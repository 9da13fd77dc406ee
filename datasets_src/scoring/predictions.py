"""Scores existing replies without a model. A prediction file has one of two formats:

{"id": "s0007", "reply": "SELECT nombre FROM rutas WHERE km < 9"}     replies to validation rows
{"prompt": "¿Cuántas rutas hay?", "reference": "SELECT COUNT(*) FROM rutas", "reply": "SELECT 9"}

In the first format an id refers to a validation row; a run's own predictions/*.jsonl have it. A row
with a `reference` is loaded through the task (task.reference_row) and needs no data; id and group
are optional, and without training rows there is no constant baseline.
"""

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from datasets_src.chat.thinking import count_thinking
from datasets_src.config import DataConfig, Section
from datasets_src.errors import UserError
from datasets_src.examples import TaskRows, load_rows, mapped_rows
from datasets_src.prepared.fingerprint import data_files
from datasets_src.reading.bad_rows import BadRows, check_limit, record_of
from datasets_src.reading.columns import clean_key
from datasets_src.reading.readers import read_rows
from datasets_src.scoring.score import (
    best_constant,
    explain_replies,
    score_replies,
    summarise,
)
from datasets_src.split import split_rows
from datasets_src.task import Task, load_task, reference_row, task_options
from datasets_src.types import Example, Score

Missing = Literal["refuse", "empty", "skip"]
_SHOWN = 5


@dataclass(frozen=True)
class Replies:
    """The replies of a file by id.

    `rows` are the rows of a file with references, `targets` the targets that a run recorded with
    its replies, both by id.
    """

    path: Path
    key: str
    by_id: dict[str, str]
    rows: dict[str, dict[str, Any]] = field(default_factory=dict)
    targets: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class EvalRows:
    """Validation examples to score replies on; training examples for the constant baseline."""

    validation: list[Example]
    train: list[Example]
    source: str
    bad_rows: Mapping[str, Any]  # left out, as in training


@dataclass(frozen=True)
class ScoredReplies:
    """Reply, scores and reason of each example, and the summary line for scores.jsonl."""

    examples: list[Example]
    replies: list[str]
    scores: list[dict[str, float]]
    whys: list[str]
    score: Score


def read_replies(path: Path, *, key: str = "--predictions") -> Replies:
    """Read a prediction file. UserError: a row with a missing field or a duplicate id."""
    read = Replies(path, key, {})
    with_reference = False
    for number, row in enumerate(read_rows(path, key=key), start=1):
        where = f"{key}: {path}: row {number}"
        with_reference = with_reference or (number == 1 and "reference" in row)
        identity = clean_key(row.get("id"))
        if with_reference:
            identity = identity or str(number)
            if missing := [name for name in ("prompt", "reference", "reply") if name not in row]:
                form = '{"prompt": "...", "reference": "...", "reply": "..."}'
                raise UserError(f"{where}: missing {' and '.join(missing)}; write {form}")
            read.rows[identity] = row
        if not identity or not isinstance(row.get("reply"), str):
            raise UserError(
                f'{where}: missing id or reply text; write {{"id": "7", "reply": "SELECT 1"}}'
            )
        if identity in read.by_id:
            raise UserError(f"{where}: duplicate id {identity}; keep one reply per id")
        read.by_id[identity] = row["reply"]
        if isinstance(row.get("target"), str):
            read.targets[identity] = row["target"]
    return read


def load_sides(data: DataConfig, *, make_split: bool = True) -> EvalRows:
    """The validation and training examples of `data`, without bad rows, as in training.

    Rows without a split are split by group, or with `make_split=False` are on both sides.
    """
    task = load_task(data.task)
    options = task_options(task, data.task_options)
    bad = BadRows() if data.max_bad_rows else None
    loaded = [
        list(
            load_rows(task, TaskRows(mapped_rows(data, task, key, path, bad=bad)), options, bad=bad)
        )
        for key, path in data_files(data)
    ]
    if bad:
        check_limit(bad, limit=data.max_bad_rows)
    source, record = data.validation_file or data.train_file, record_of(bad)
    examples = loaded[0]
    if data.validation_file is not None:
        return EvalRows(loaded[1], examples, source, record)
    given = [example.split for example in examples]
    if not make_split and all(side is None for side in given):
        return EvalRows(examples, examples, source, record)
    groups = [example.group for example in examples]
    sides = split_rows(groups, given, size=data.validation_size, seed=data.split_seed).sides
    pairs = list(zip(examples, sides, strict=True))
    train = [example for example, side in pairs if side == "train"]
    return EvalRows([e for e, side in pairs if side == "validation"], train, source, record)


def load_references(task: Task, options: Section, replies: Replies) -> EvalRows:
    """The examples of a file with references; UserError unless each row becomes exactly one."""
    where = f"{replies.key}: {replies.path}"

    def rows() -> Iterable[dict[str, Any]]:
        for identity, row in replies.rows.items():
            group = clean_key(row.get("group")) or identity
            yield {**reference_row(task, row), "id": identity, "group": group, "split": None}

    try:
        examples = list(load_rows(task, TaskRows(iter(rows())), options, bad=None))
    except ValueError as error:
        faults = error.faults if isinstance(error, UserError) else (str(error),)
        messages = [fault.removeprefix("data.train_file: ") for fault in faults]
        raise UserError(*(f"{where}: {fault}" for fault in messages)) from None
    ids = [example.id for example in examples]
    if sorted(ids) != sorted(replies.rows):
        lost = [identity for identity in replies.rows if identity not in ids]
        raise UserError(
            f"{where}: {len(lost) or 'some'} rows do not become exactly one example each "
            f"(ids {named_ids(lost or ids)}); remove them"
        )
    return EvalRows(examples, [], str(replies.path), record_of(None))


def match_replies(replies: Replies, held: EvalRows, *, missing: Missing) -> list[Example]:
    """The examples to score: all, or with `missing="skip"` those that have a reply.

    Raises:
        UserError: unknown ids, or with `missing="refuse"` examples without a reply.
    """
    ids = [example.id for example in held.validation]
    where, num = f"{replies.key}: {replies.path}", len(replies.by_id)
    if unknown := sorted(replies.by_id.keys() - set(ids)):
        raise UserError(
            f"{where}: {len(unknown)} of {num} ids ({named_ids(unknown)}) "
            f"are not among the {len(ids)} validation rows of {held.source} "
            f"(such as {named_ids(ids[:2])}); give those rows with --data, or remove these replies"
        )
    lost = [identity for identity in ids if identity not in replies.by_id]
    if lost and missing == "refuse":
        raise UserError(
            f"{where}: {len(lost)} of the {len(ids)} validation rows of {held.source} have no "
            f"reply (ids {named_ids(lost)}); add them, count them as empty with --missing empty, "
            "or leave them out with --missing skip"
        )
    if missing != "skip":
        return held.validation
    return [example for example in held.validation if example.id in replies.by_id]


def check_targets(replies: Replies, examples: Sequence[Example]) -> None:
    """Raise UserError if a run made these replies for other targets."""
    given = replies.targets
    if changed := [e.id for e in examples if given.get(e.id, e.target) != e.target]:
        raise UserError(
            f"{replies.key}: {replies.path}: the targets of {len(changed)} of {len(examples)} rows "
            f"(ids {named_ids(changed)}) differ from those the run recorded; give the original "
            "rows with --data"
        )


def check_references(replies: Replies, others: Replies) -> None:
    """Raise UserError if two files have different references for an id."""
    both = replies.rows.keys() & others.rows.keys()
    here, there = replies.rows, others.rows
    if other := sorted(i for i in both if here[i]["reference"] != there[i]["reference"]):
        raise UserError(
            f"{others.key}: {others.path}: {len(other)} references (ids {named_ids(other)}) differ "
            f"from {replies.path}; compare files of the same rows"
        )


def score_file(task: Task, replies: Replies, examples: list[Example], metric: str) -> ScoredReplies:
    """Score the replies to `examples`; a missing reply counts as empty."""
    texts = [replies.by_id.get(example.id, "") for example in examples]
    started = time.monotonic()
    rows = score_replies(task, examples, texts)
    seconds = time.monotonic() - started
    score = summarise(
        str(replies.path),
        task=task,
        metric=metric,
        examples=examples,
        rows=rows,
        predictions=str(replies.path),
        seconds=seconds,
        thinking=count_thinking(texts),
    )
    return ScoredReplies(examples, texts, rows, explain_replies(task, examples, texts, rows), score)


def score_constant(
    task: Task,
    train: Sequence[Example],
    examples: Sequence[Example],
    *,
    metric: str,
    greater_is_better: bool = True,
) -> Score:
    """The constant baseline on the same examples."""
    reply, rows = best_constant(
        task, train, examples, metric=metric, greater_is_better=greater_is_better
    )
    return summarise(
        "constant", task=task, metric=metric, examples=examples, rows=rows, constant_reply=reply
    )


def score_rows(scored: ScoredReplies) -> list[dict[str, Any]]:
    """One JSON row for each example: id, group, target, reply, why, scores."""
    columns = (scored.examples, scored.replies, scored.whys, scored.scores)
    return [
        {
            "id": example.id,
            "group": example.group,
            "target": example.target,
            "reply": reply,
            "why": why,
            "scores": scores,
        }
        for example, reply, why, scores in zip(*columns, strict=True)
    ]


def named_ids(ids: Sequence[str]) -> str:
    """The first few ids, comma-separated."""
    return ", ".join(ids[:_SHOWN]) + (", ..." if len(ids) > _SHOWN else "")
