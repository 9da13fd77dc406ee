"""Score replies: those of a file, made elsewhere, rows of {"id", "reply"}, or those of a model.

python -m jobs.evaluate --task text2sql --predictions replies.jsonl
    --config jobs/configs/biosenda_text2sql.yaml                     the rows of a config, or
    --data rows.jsonl --option database=my.sqlite                    rows of your own
python -m jobs.evaluate --config CONFIG.yaml --num-few-shot 5       with a model: evaluate_model.py
"""

import argparse
from pathlib import Path

import yaml

from datasets_src.config import DataConfig
from datasets_src.errors import UserError
from datasets_src.predictions import score_lines, score_predictions, score_rows, shipped_data
from jobs.cli import run_verb
from jobs.evaluate_model import add_arguments, model_arguments, verdict_lines, with_replies
from trainers.config_load import load_config
from trainers.run_dir import write_jsonl


def main(argv: list[str]) -> int:
    """Print the table and write FILE.scores.jsonl beside the predictions."""
    args, overrides = _parser().parse_known_args(argv)
    if asked := args.predictions is None:
        args = with_replies(args, overrides)
    elif unread := [*overrides, *model_arguments(args)]:
        raise UserError(f"{unread[0]}: not read beside --predictions; leave one of the two out")
    data = _data(args)
    scored = score_predictions(args.predictions, data, make_split=args.config is not None)
    out = args.predictions.with_name(f"{args.predictions.stem}.scores.jsonl")
    write_jsonl(out, list(score_rows(scored)))
    print(*score_lines(scored), f"scores of each row: {out}", sep="\n")
    if asked:
        print(*verdict_lines(args.beside, scored.summary[0]), sep="\n")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m jobs.evaluate",
        description="Score a file of replies on a task, or the replies of a model. A file without "
        "--config or --data: on the validation rows of the Spanish text-to-SQL set that ships.",
        allow_abbrev=False,
    )
    parser.add_argument("--task", help="module of datasets_src/tasks; default: the config's")
    parser.add_argument("--predictions", type=Path, metavar="FILE.jsonl")
    rows = parser.add_mutually_exclusive_group()
    rows.add_argument("--config", type=Path, help="score on the validation rows of this config")
    rows.add_argument("--data", help="score on these rows (their validation side, if they say)")
    for name, what in (("option", "an option of the task"), ("column", "our field=its column")):
        parser.add_argument(
            f"--{name}", action="append", default=[], metavar="KEY=VALUE", help=f"--data: {what}"
        )
    add_arguments(parser)
    return parser


def _data(args: argparse.Namespace) -> DataConfig:
    if args.data is not None:
        columns = {key: str(value) for key, value in _pairs("--column", args.column).items()}
        named = {"task": args.task or "text2sql", "train_file": args.data, "columns": columns}
        return DataConfig.model_validate({**named, "task_options": _pairs("--option", args.option)})
    if args.option or args.column:
        raise UserError("--option, --column: only with --data; a config has its own; add --data")
    data = shipped_data() if args.config is None else load_config(args.config, [])[0].data
    if args.task not in (None, data.task):
        where = args.config or "the shipped rows"
        raise UserError(f"--task: {args.task}, but {where} are of {data.task}; give --data")
    return data


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
