"""Score replies of a file or of a model on a task (datasets_src/scoring/predictions.py).

python -m jobs.evaluate --task text2sql --predictions replies.jsonl   on the rows that ship, or
    --config jobs/configs/biosenda_text2sql.yaml                      on the rows of a config, or
    --data rows.jsonl --option database=my.sqlite                     on rows of your own
python -m jobs.evaluate --predictions runs/demo/predictions/step-000140.jsonl
    --against runs/demo/predictions/base.jsonl                        does the one beat the other?
python -m jobs.evaluate --config CONFIG.yaml --num-few-shot 5         a model: evaluate_model.py

The last line is one JSON object: {"name", "n", "metrics", "intervals", "slices", "constant", ...}.
"""

import argparse
import json
from dataclasses import dataclass
from pathlib import Path

import yaml

from datasets_src.config import DataConfig
from datasets_src.errors import UserError
from datasets_src.reading.bad_rows import format_first
from datasets_src.scoring.paired import compare_rows
from datasets_src.scoring.predictions import (
    EvalRows,
    Missing,
    Replies,
    ScoredReplies,
    check_references,
    check_targets,
    load_references,
    load_sides,
    match_replies,
    named_ids,
    read_replies,
    score_constant,
    score_file,
    score_rows,
)
from datasets_src.task import Task, checked_metric, known_tasks, load_task, task_options
from jobs.common.cli import run_verb
from jobs.common.evaluate_model import add_arguments, model_arguments, with_replies
from jobs.common.score_text import Against, score_json, score_lines
from jobs.common.shipped import shipped_config
from trainers.config.load import load_config
from trainers.storage.json_files import write_jsonl


@dataclass(frozen=True)
class Rows:
    """What replies are scored on; `of_run` where they are of a run, on the rows it has kept."""

    task: Task
    held: EvalRows
    of_run: bool = False


def main(argv: list[str]) -> int:
    """Print the table and the JSON; write down the scores of each row."""
    args, overrides = _parser().parse_known_args(argv)
    if args.predictions is None:
        args = with_replies(args, overrides)
    elif unread := [*overrides, *model_arguments(args)]:
        raise UserError(f"{unread[0]}: has no effect with --predictions; remove one of the two")
    replies = read_replies(args.predictions)
    rows = find_rows(args, replies)
    metric = checked_metric(rows.task, args.metric, key="--metric")
    own = _score(args, rows, replies, metric)
    train = rows.held.train
    constant = None
    if train:
        constant = score_constant(
            rows.task, train, own.examples, metric=metric, greater_is_better=args.mode == "max"
        )
    against = _against(args, rows, replies, own)
    out = scores_path(args.predictions)
    write_jsonl(out, score_rows(own))
    print(*score_lines(own.score, constant), *_notes(rows, replies, own), sep="\n")
    if against is not None:
        other, comparison = against
        print(comparison.summary_line(own.score.name, other.score.name))
    print(f"scores of each row: {out}")
    print(json.dumps(score_json(own.score, constant, against), ensure_ascii=False))
    return 0


def find_rows(args: argparse.Namespace, replies: Replies) -> Rows:
    """The rows that the command line names, or that the replies bring.

    UserError: an unknown task, flags that do not go together, and what is wrong with the rows.
    """
    if args.task is not None:
        load_task(args.task, key="--task")
    if replies.rows and args.data is not None:
        raise UserError(
            f"--data: {args.data}, but the rows of {replies.path} bring references of their own; "
            "leave out --data, or remove the column `reference`"
        )
    if args.data is not None or (replies.rows and args.config is None):
        data, of_run = _data(args), False
    else:
        run = run_config(replies.path)
        of_run = args.config is None and run is not None
        data = _data_of(args.config or run or _shipped(args.task), args)
    task = load_task(data.task)
    if replies.rows:
        return Rows(task, load_references(task, task_options(task, data.task_options), replies))
    return Rows(task, load_sides(data, make_split=args.data is None), of_run)


def run_config(predictions: Path) -> Path | None:
    """The config of the run in whose directory a file of predictions lies."""
    folder = predictions.resolve().parent
    path = folder.parent / "config.yaml"
    return path if folder.name == "predictions" and path.is_file() else None


def scores_path(predictions: Path) -> Path:
    """Next to the predictions; for a run `rescored/`, as only the run writes its `predictions/`."""
    if run_config(predictions) is None:
        return predictions.with_name(f"{predictions.stem}.scores.jsonl")
    return predictions.resolve().parent.with_name("rescored") / predictions.name


def _shipped(task: str | None) -> Path:
    if path := shipped_config(_named(task)):
        return path
    raise UserError(f"--task: no rows ship for {task}; name some with --data or --config")


def _named(task: str | None) -> str:
    if task is None:
        raise UserError(f"--task: not given; name one of {', '.join(known_tasks())}")
    return task


def _data_of(config: Path, args: argparse.Namespace) -> DataConfig:
    if args.option or args.column:
        raise UserError(f"--option, --column: {config} has its own; leave them out, or give --data")
    data = load_config(config, [])[0].data
    if args.task not in (None, data.task):
        raise UserError(f"--task: {args.task}, but {config} is of {data.task}; leave one out")
    return data


def _data(args: argparse.Namespace) -> DataConfig:
    columns = {key: str(value) for key, value in _pairs("--column", args.column).items()}
    return DataConfig.model_validate(
        {
            "task": _named(args.task),
            "train_file": str(args.data or args.predictions),
            "columns": columns,
            "task_options": _pairs("--option", args.option),
        }
    )


def _score(args: argparse.Namespace, rows: Rows, replies: Replies, metric: str) -> ScoredReplies:
    """A run leaves out what is too long, so its replies are scored on the rows that it has."""
    missing: Missing = args.missing or ("skip" if rows.of_run else "refuse")
    examples = match_replies(replies, rows.held, missing=missing)
    if rows.of_run:
        check_targets(replies, examples)
    return score_file(rows.task, replies, examples, metric)


def _against(
    args: argparse.Namespace, rows: Rows, replies: Replies, own: ScoredReplies
) -> Against | None:
    """The other file's scores on the same rows, and whether the first one's are better."""
    if args.against is None:
        return None
    theirs = read_replies(args.against, key="--against")
    check_references(replies, theirs)
    metric = own.score.metric
    other = _score(args, rows, theirs, metric)
    comparison = compare_rows(
        score_rows(own), score_rows(other), metric=metric, greater_is_better=args.mode == "max"
    )
    if comparison is None:
        raise UserError(f"--against: {args.against} has no row in common with {replies.path}")
    return other, comparison


def _notes(rows: Rows, replies: Replies, own: ScoredReplies) -> list[str]:
    notes = []
    if rows.held.bad_rows["num_rows"]:
        num, first = rows.held.bad_rows["num_rows"], format_first(rows.held.bad_rows)
        notes.append(f"{num} bad rows of the data are left out: {first}")
    empty = [example.id for example in own.examples if example.id not in replies.by_id]
    if empty:
        notes.append(f"{len(empty)} rows without a reply count as empty: {named_ids(empty)}")
    if left_out := len(rows.held.validation) - len(own.examples):
        notes.append(f"{left_out} validation rows without a reply are left out")
    return notes


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m jobs.evaluate",
        description="Score a file of replies on a task, or those of a model. Rows of {id, reply} "
        "are scored on the validation rows that --config or --data name, or the file's run has, or "
        "that ship for the task; rows of {prompt, reference, reply} on their own references.",
        allow_abbrev=False,
    )
    parser.add_argument("--task", help="module of datasets_src/tasks; default: the config's")
    parser.add_argument("--predictions", type=Path, metavar="FILE.jsonl")
    parser.add_argument(
        "--against", type=Path, metavar="OTHER.jsonl", help="test whether the first file is better"
    )
    parser.add_argument("--metric", help="what is compared and broken down; default: the task's")
    parser.add_argument(
        "--mode",
        choices=("max", "min"),
        default="max",
        help="min: the lower the metric, the better, for --against and the constant answer",
    )
    parser.add_argument(
        "--missing",
        choices=("refuse", "empty", "skip"),
        help="rows without a reply are a fault (the default), count as an empty one, or are left "
        "out (the default for a run's own predictions)",
    )
    rows = parser.add_mutually_exclusive_group()
    rows.add_argument("--config", type=Path, help="score on the validation rows of this config")
    rows.add_argument("--data", help="score on these rows (their validation side, if they say)")
    for name, what in (("option", "an option of the task"), ("column", "our field=its column")):
        parser.add_argument(
            f"--{name}", action="append", default=[], metavar="KEY=VALUE", help=f"--data: {what}"
        )
    add_arguments(parser)
    return parser


def _pairs(flag: str, given: list[str]) -> dict[str, object]:
    """KEY=VALUE, the value read as YAML: numbers, lists and {<idtaxon>: taxa.json} work."""
    values: dict[str, object] = {}
    for text in given:
        key, equals, value = text.partition("=")
        if not equals:
            raise UserError(f"{flag}: {text!r} is not KEY=VALUE; write e.g. {flag} {text}=...")
        values[key] = yaml.safe_load(value)
    return values


if __name__ == "__main__":
    run_verb(main)
