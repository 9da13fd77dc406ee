"""Scores replies that were made elsewhere: rows of {"id", "reply"}, no model needed.

{"id": "s0007", "reply": "SELECT nombre FROM rutas WHERE km < 9"}
"""

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from datasets_src.bad_rows import BadRows, check_limit, first_of, record_of
from datasets_src.columns import clean_key
from datasets_src.config import DataConfig
from datasets_src.errors import UserError
from datasets_src.examples import TaskRows, load_rows, mapped_rows
from datasets_src.fingerprint import data_files
from datasets_src.readers import read_rows
from datasets_src.scoring import best_constant, score_replies, summarise
from datasets_src.split import split_rows
from datasets_src.task import load_task, task_options
from datasets_src.types import Example, Score

_SENDEROS = Path(__file__).resolve().parent / "senderos"
_SHOWN = 5


@dataclass(frozen=True)
class Scored:
    """What `score_predictions` found: one reply and one dict of scores for each example."""

    examples: list[Example]
    replies: list[str]
    scores: list[dict[str, float]]
    missing: list[str]  # ids without a reply
    summary: list[Score]  # the predictions, then the best constant answer
    bad_rows: Mapping[str, Any]  # of the data, left out as they are in training


def shipped_data() -> DataConfig:
    """The rows and the database that come with this repository."""
    options = {
        "database": str(_SENDEROS / "senderos.sql"),
        "schema_file": str(_SENDEROS / "schema.sql"),
    }
    return DataConfig.model_validate(
        {"train_file": str(_SENDEROS / "text2sql.jsonl"), "task_options": options}
    )


def load_sides(
    data: DataConfig, *, make_split: bool, bad: BadRows | None
) -> tuple[list[Example], list[Example]]:
    """Training and validation examples of `data`; bad rows as training has them.

    Rows that give no split are split by group, or where `make_split` is off are on both sides.
    """
    task = load_task(data.task)
    options = task_options(task, data.task_options)
    loaded = [
        list(
            load_rows(task, TaskRows(mapped_rows(data, task, key, path, bad=bad)), options, bad=bad)
        )
        for key, path in data_files(data)
    ]
    if bad:
        check_limit(bad, limit=data.max_bad_rows)
    examples = loaded[0]
    if data.validation_file is not None:
        return examples, loaded[1]
    given = [example.split for example in examples]
    if not make_split and all(side is None for side in given):
        return examples, examples
    groups = [example.group for example in examples]
    sides = split_rows(groups, given, size=data.validation_size, seed=data.split_seed).sides
    pairs = list(zip(examples, sides, strict=True))
    train = [example for example, side in pairs if side == "train"]
    return train, [example for example, side in pairs if side == "validation"]


def read_predictions(path: Path) -> dict[str, str]:
    """Reply of each id; UserError names the row that lacks one, or stands twice."""
    replies: dict[str, str] = {}
    for number, row in enumerate(read_rows(path, key="--predictions"), start=1):
        where = f"--predictions: {path}: row {number}"
        identity = clean_key(row.get("id"))
        if not identity or not isinstance(row.get("reply"), str):
            raise UserError(f'{where}: no id or no text; write {{"id": "7", "reply": "SELECT 1"}}')
        if identity in replies:
            raise UserError(f"{where}: id {identity} stands twice; keep one reply for each id")
        replies[identity] = row["reply"]
    return replies


def score_predictions(path: Path, data: DataConfig, *, make_split: bool = True) -> Scored:
    """Score the replies in `path` on the validation rows of `data`.

    A row without a reply counts as an empty reply. UserError: ids that no row has.
    """
    predictions = read_predictions(path)
    bad = BadRows() if data.max_bad_rows else None
    train, examples = load_sides(data, make_split=make_split, bad=bad)
    ids = [example.id for example in examples]
    if unknown := sorted(predictions.keys() - set(ids)):
        source = data.validation_file or data.train_file
        raise UserError(
            f"--predictions: {path}: {len(unknown)} of {len(predictions)} ids ({_named(unknown)}) "
            f"are not among the {len(ids)} validation rows of {source} "
            f"(such as {_named(ids[:2])}); give those rows with --data, or remove these replies"
        )
    replies = [predictions.get(identity, "") for identity in ids]
    task, started = load_task(data.task), time.monotonic()
    scores = score_replies(task, examples, replies)
    seconds = time.monotonic() - started
    own = summarise(
        path.name,
        step=None,
        metric=task.METRIC,
        rows=scores,
        predictions=str(path),
        seconds=seconds,
    )
    missing = [identity for identity in ids if identity not in predictions]
    summary = [own, _constant(task, train, examples)]
    return Scored(examples, replies, scores, missing, summary, record_of(bad))


def _constant(task: ModuleType, train: list[Example], examples: list[Example]) -> Score:
    started = time.monotonic()
    reply, rows = best_constant(task, train, examples)
    seconds = time.monotonic() - started
    return summarise(
        "constant",
        step=None,
        metric=task.METRIC,
        rows=rows,
        predictions="",
        seconds=seconds,
        constant_reply=reply,
    )


def score_rows(scored: Scored) -> Iterable[dict[str, Any]]:
    """One JSON row for each example: id, group, target, reply, scores."""
    pairs = zip(scored.examples, scored.replies, scored.scores, strict=True)
    for example, reply, scores in pairs:
        yield {
            "id": example.id,
            "group": example.group,
            "target": example.target,
            "reply": reply,
            "scores": scores,
        }


def score_lines(scored: Scored) -> list[str]:
    """A table: metric, value, interval, n, and the best constant answer beside it."""
    own, constant = scored.summary
    width = max(map(len, own.metrics))
    lines = [f"{'metric':{width}}  value   95 % interval     n  best constant"]
    for name, value in own.metrics.items():
        low, high = own.intervals[name]
        clow, chigh = constant.intervals[name]
        lines.append(
            f"{name:{width}}  {value:.3f}  [{low:.3f}, {high:.3f}] {own.n:5d}  "
            f"{constant.metrics[name]:.3f}  [{clow:.3f}, {chigh:.3f}]"
        )
    num_right = round(constant.metrics[constant.metric] * constant.n)
    lines.append(f"best constant: {constant.constant_reply!r}, {num_right}/{constant.n}")
    if num_bad := scored.bad_rows["num_rows"]:
        lines.append(f"{num_bad} bad rows of the data are left out: {first_of(scored.bad_rows)}")
    if scored.missing:
        named = _named(scored.missing)
        lines.append(f"{len(scored.missing)} rows without a reply count as empty: {named}")
    return lines


def _named(ids: Sequence[str]) -> str:
    return ", ".join(ids[:_SHOWN]) + (", ..." if len(ids) > _SHOWN else "")
