"""What every verb shares: one line for a fault and exit 2, --help that lists every config key.

if __name__ == "__main__":
    run_verb(main)
"""

import argparse
import errno
import logging
import os
import shlex
import sys
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from pydantic.fields import FieldInfo

from datasets_src.errors import UserError
from datasets_src.task import known_tasks, load_task
from trainers.config.load import leaves, load_config
from trainers.config.schema import Config
from trainers.process.signals import RunFailed, StoppedBySignal
from trainers.run.state import RunState


def run_verb(main: Callable[[list[str]], int]) -> None:
    """Run `main` on the command line's arguments and exit with its code.

    A UserError prints one line for each fault and exits 2, a run that fails otherwise exits 1; a
    signal to stop exits 130 (ctrl-C) or 143.
    """
    # What our libraries will rename in their next version is no matter of who runs a verb.
    warnings.filterwarnings("ignore", category=FutureWarning)
    # bitsandbytes, where it is installed, tells at its import of a kernel that no method uses.
    logging.getLogger("bitsandbytes.backends.cpu.ops").setLevel(logging.ERROR)
    try:
        code = main(sys.argv[1:])
    except UserError as error:
        for fault in error.faults:
            print(f"error: {fault}", file=sys.stderr)
        code = 2
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        where = error.filename or "the storage"
        print(
            f"error: {where}: {error.strerror}; free some space and run it again", file=sys.stderr
        )
        code = 2
    except RunFailed as error:
        end_failed(str(error))
        code = 1
    except KeyboardInterrupt:
        print(f"stopped\n{again()}", file=sys.stderr)
        code = 130
    except StoppedBySignal as stopped:
        print(f"{stopped}\n{again()}", file=sys.stderr)
        code = stopped.exit_code
    sys.stdout.flush()
    sys.exit(code)


def again() -> str:
    """What to type to go on."""
    verb = ["python", "-m", f"jobs.{Path(sys.argv[0]).stem}", *sys.argv[1:]]
    return f"the same command goes on: {shlex.join(verb)}"


def end_failed(why: str) -> None:
    """Say why a run failed and how to go on."""
    print(f"error: {why}\n{again()}", file=sys.stderr, flush=True)


def give_up(run: RunState, reason: str) -> None:
    """End the process from any thread: the main one may hang in a call to the cluster."""
    run.end("failed", 1, reason)
    end_failed(reason)
    os._exit(1)


def config_parser(
    prog: str, description: str, *, argv: Sequence[str], config: Path | None = None
) -> argparse.ArgumentParser:
    """A parser of `CONFIG.yaml [key=value | --key value ...]`; a given `config` is not asked.

    Its help lists the options of the task of the config that `argv` names.
    """
    parser = argparse.ArgumentParser(
        prog=f"python -m jobs.{prog}",
        description=description,
        epilog="\n".join([*key_lines("config", leaves()), *task_lines(argv, config)]),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    if config is None:
        parser.add_argument("config", type=Path, metavar="CONFIG.yaml")
    else:
        parser.set_defaults(config=config)
    return parser


def task_lines(argv: Sequence[str], config: Path | None) -> Iterator[str]:
    """The help of the options of the config's task; without a config, which tasks there are."""
    yield f"tasks: {', '.join(known_tasks())}"
    asking = ("-h", "--help")
    if not any(word in argv for word in asking):
        return
    paths = [str(config)] if config else [a for a in argv if a.endswith((".yaml", ".yml"))]
    if not paths:
        yield "with CONFIG.yaml, --help lists the options of its task too"
        return
    try:
        rest = [word for word in argv if word not in (paths[0], *asking)]
        data = load_config(Path(paths[0]), rest)[0].data
        task = load_task(data.task)
    except UserError:
        return
    yield from key_lines(f"{data.task} option", leaves(task.Options, "data.task_options."))


def parse_run(prog: str, description: str | None, argv: list[str]) -> tuple[Path, Config]:
    """The run directory that the command line names and its config, with overrides; notes go to
    stderr. UserError: there is no run."""
    parser = argparse.ArgumentParser(
        prog=f"python -m jobs.{prog}",
        description=description,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("run_dir", type=Path, metavar="RUN_DIR", help="<output_dir>/<run_name>")
    args, overrides = parser.parse_known_args(argv)
    path = args.run_dir / "config.yaml"
    if not path.is_file():
        raise UserError(f"{args.run_dir}: no run there (no config.yaml); give a run directory")
    config, notes = load_config(path, overrides)
    for note in notes:
        print(f"note: {note}", file=sys.stderr)
    return args.run_dir.absolute(), config


def key_lines(what: str, keys: Iterable[tuple[str, FieldInfo]]) -> Iterator[str]:
    """The help of the keys of a YAML: their names, what they are, their defaults."""
    yield f"{what} keys, each settable as key=value or --key value:"
    for name, field in keys:
        default = (
            "required" if field.is_required() else field.get_default(call_default_factory=True)
        )
        values = _choices(field.annotation)
        among = f" ({', '.join(values)})" if values else ""
        yield f"  {name:36} {field.description}{among} [{default}]"


def _choices(annotation: Any) -> list[str]:
    """The values that a field may have, where they are listed; also those of its items."""
    if get_origin(annotation) is Literal:
        return [str(value) for value in get_args(annotation)]
    parts = [part for part in get_args(annotation) if get_origin(annotation) is not dict]
    return [value for part in parts for value in _choices(part)]


def parse_config(parser: argparse.ArgumentParser, argv: list[str]) -> Config:
    """The config that the command line names, with its overrides; notes go to stderr."""
    args, overrides = parser.parse_known_args(argv)
    config, notes = load_config(args.config, overrides)
    for note in notes:
        print(f"note: {note}", file=sys.stderr)
    return config
