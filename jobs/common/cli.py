"""What every verb shares: one line per error and exit 2, --help that lists every config key.

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

# Read by the OpenMP runtime when torch is first imported, in this process or in one that it starts:
# idle threads that spin make a step up to a hundred times slower where cores are shared.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
BROKEN_PIPE_EXIT = 128 + 13  # as a process that SIGPIPE ended


def run_verb(main: Callable[[list[str]], int]) -> None:
    """Run `main` on the command line's arguments and exit with its code.

    A UserError prints one line per error and exits 2, or 3 if an exported file was rejected; a run
    that fails otherwise exits 1, a signal 130 (ctrl-C) or 143. If the reader of stdout is gone
    (`| head`), exits 141 without a message.
    """
    # Renames in the next version of a library do not concern the user of a verb.
    warnings.filterwarnings("ignore", category=FutureWarning)
    # bitsandbytes warns at its import about a kernel that no method uses.
    logging.getLogger("bitsandbytes.backends.cpu.ops").setLevel(logging.ERROR)
    try:
        code = main(sys.argv[1:])
        sys.stdout.flush()
    except BrokenPipeError:
        # The interpreter flushes stdout at exit, which would fail again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = BROKEN_PIPE_EXIT
    except UserError as error:
        for fault in error.faults:
            print(f"error: {fault}", file=sys.stderr)
        code = error.exit_code
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
        print(f"stopped\n{resume_line()}", file=sys.stderr)
        code = 130
    except StoppedBySignal as stopped:
        print(f"{stopped}\n{resume_line()}", file=sys.stderr)
        code = stopped.exit_code
    sys.exit(code)


def resume_line() -> str:
    """The command that resumes."""
    verb = ["python", "-m", f"jobs.{Path(sys.argv[0]).stem}", *sys.argv[1:]]
    return f"to resume, run: {shlex.join(verb)}"


def end_failed(reason: str) -> None:
    """Print why a run failed and how to resume it."""
    print(f"error: {reason}\n{resume_line()}", file=sys.stderr, flush=True)


def give_up(run: RunState, reason: str) -> None:
    """End the process from any thread: the main one may hang in a call to the cluster."""
    run.end("failed", 1, reason)
    end_failed(reason)
    os._exit(1)


def config_parser(
    prog: str, description: str, *, argv: Sequence[str], config: Path | None = None
) -> argparse.ArgumentParser:
    """A parser of `CONFIG.yaml [key=value | --key value ...]`, or of overrides of `config` alone.

    Its help lists the options of the config's task.
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
    """Help on the options of the config's task; without a config, the names of the tasks."""
    yield f"tasks: {', '.join(known_tasks())}"
    asking = ("-h", "--help")
    if not any(word in argv for word in asking):
        return
    paths = [str(config)] if config else [a for a in argv if a.endswith((".yaml", ".yml"))]
    if not paths:
        yield "with CONFIG.yaml, --help also lists the options of its task"
        return
    try:
        rest = [word for word in argv if word not in (paths[0], *asking)]
        data = load_config(Path(paths[0]), rest)[0].data
        task = load_task(data.task)
    except UserError:
        return
    yield from key_lines(f"{data.task} option", leaves(task.Options, "data.task_options."))


def parse_run(prog: str, description: str | None, argv: list[str]) -> tuple[Path, Config]:
    """The run directory on the command line and its config with overrides; notes go to stderr.

    Raises:
        UserError: there is no run.
    """
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
        raise UserError(
            f"{args.run_dir}: not a run directory (no config.yaml); give <output_dir>/<run_name>"
        )
    config, notes = load_config(path, overrides)
    for note in notes:
        print(f"note: {note}", file=sys.stderr)
    return args.run_dir.absolute(), config


def key_lines(what: str, keys: Iterable[tuple[str, FieldInfo]]) -> Iterator[str]:
    """Help on the keys of a YAML: name, description, choices, default."""
    yield f"{what} keys, each settable as key=value or --key value:"
    for name, field in keys:
        default = (
            "required" if field.is_required() else field.get_default(call_default_factory=True)
        )
        values = _choices(field.annotation)
        among = f" ({', '.join(values)})" if values else ""
        yield f"  {name:36} {field.description}{among} [{default}]"


def _choices(annotation: Any) -> list[str]:
    """The values of a Literal field, or of its items or alternatives."""
    if get_origin(annotation) is Literal:
        return [str(value) for value in get_args(annotation)]
    parts = [part for part in get_args(annotation) if get_origin(annotation) is not dict]
    return [value for part in parts for value in _choices(part)]


def parse_config(parser: argparse.ArgumentParser, argv: list[str]) -> Config:
    """The config on the command line with its overrides; notes go to stderr."""
    args, overrides = parser.parse_known_args(argv)
    config, notes = load_config(args.config, overrides)
    for note in notes:
        print(f"note: {note}", file=sys.stderr)
    return config
