"""Raw rows to tokenised rows: `python -m jobs.prepare CONFIG.yaml [key=value]`.

Prints what was read, split and dropped, and one example with its trained tokens marked. The same
command again finds the result there; `jobs.finetune` with the same data uses it.
"""

import json
from pathlib import Path

from datasets_src.pipeline import Prepared, find_prepared, prepare
from datasets_src.prepared.data_report import format_report
from datasets_src.prepared.preview import preview
from datasets_src.prepared.sharing import format_sharing, measure_sharing
from datasets_src.prepared.store import open_split
from datasets_src.reading.bad_rows import format_bad_rows
from datasets_src.task import load_task
from jobs.common.cli import config_parser, parse_config, run_verb
from jobs.common.ray_session import end_ray_data, start_ray
from trainers.config.schema import Config
from trainers.run.location import output_directory


def main(argv: list[str]) -> int:
    """Prepare the rows of the config and show them; exit code 0, or a UserError."""
    parser = config_parser("prepare", "Read, split and tokenise the rows of a config.", argv=argv)
    config = parse_config(parser, argv)

    from trainers.models.resolve import resolve_base

    model_dir = resolve_base(config)
    show_example(config, prepare_rows(config, model_dir), model_dir)
    return 0


def prepare_rows(config: Config, model_dir: Path, *, shown: bool = False) -> Prepared:
    """The tokenised rows of `config`, those already there or made now on Ray, and their report.

    For rows that were `shown` before, only their directory is printed.
    """
    output_dir = output_directory(config)
    prepared = find_prepared(config.data, model_dir=model_dir, output_dir=output_dir)
    note = " (already prepared)" if prepared else ""
    if prepared is None:
        start_ray()
        prepared = prepare(config.data, model_dir=model_dir, output_dir=output_dir)
        end_ray_data()
    print(f"data      {prepared.directory}{note}")
    if shown and note:
        return prepared
    report = json.loads((prepared.directory / "data.json").read_text(encoding="utf-8"))
    if bad_rows := format_bad_rows(report, prepared.directory):
        print(f"data      {bad_rows}")
    print(format_report(report))
    sharing = measure_sharing(
        open_split(prepared.directory, "train"),
        load_task(config.data.task),
        template=config.data.template,
        train_batch_size=config.train.train_batch_size,
        min_share=config.train.min_share,
    )
    print(format_sharing(sharing), "\n")
    return prepared


def show_example(config: Config, prepared: Prepared, model_dir: Path) -> None:
    """Print what ends a reply and pads a text, and one row with its trained tokens marked."""
    from datasets_src.chat.base_template import describe_tokens
    from trainers.models.load import load_tokenizer

    family = config.model.chat_template
    print(describe_tokens(model_dir, config.data.template, family=family))
    print(preview(open_split(prepared.directory, "train"), load_tokenizer(model_dir)))


if __name__ == "__main__":
    run_verb(main)
