"""What a config takes before it is started: `python -m jobs.plan CONFIG.yaml [key=value]`.

Memory of a worker by parts, tokens and steps, bytes of a checkpoint, and how many trials of a sweep
fit this machine. Nothing is trained and Ray does not start; rows are counted once `jobs.prepare`
has made them.
"""

import argparse
import sys
from pathlib import Path

import yaml

from datasets_src.batching.plan import steps_per_epoch
from datasets_src.errors import UserError
from datasets_src.pipeline import find_prepared
from datasets_src.prepared.store import open_split
from jobs.common.cli import run_verb
from trainers.config.load import load_config
from trainers.config.schema import Config
from trainers.run.location import output_directory
from tune.config import Sweep, load_sweep

GIB = 2**30
UNKNOWN = """what it does not estimate: hours and price (they depend on the machine: train ten steps
and look), fragmentation and the allocator's caches, Ray's own processes (about 0.5 GiB a node), the
memory of a GPU, what ZeRO shares out, a task's own tables, and prompts longer than max_length."""


def main(argv: list[str]) -> int:
    """Print the plan; exit code 0, or a UserError where it does not fit."""
    parser = argparse.ArgumentParser(
        prog="python -m jobs.plan",
        description="What a run or a sweep takes, before it is paid for.",
        epilog=UNKNOWN,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("config", type=Path, metavar="CONFIG.yaml")
    args, overrides = parser.parse_known_args(argv)
    sweep = load_sweep(args.config, overrides) if has_sweep(args.config) else None
    if sweep is None:
        config, notes = load_config(args.config, overrides)
    else:
        config, notes = sweep.base, list(sweep.notes)
    for note in notes:
        print(f"note: {note}", file=sys.stderr)
    return plan(config, sweep)


def has_sweep(path: Path) -> bool:
    """Whether a file is a sweep's; its errors are reported by the reader of the sweep."""
    try:
        raw = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError):
        return False
    return isinstance(raw, dict) and "sweep" in raw


def plan(config: Config, sweep: Sweep | None) -> int:
    """Print what `config` takes on this machine."""
    from trainers.models.base_checks import check_base
    from trainers.models.memory_estimate import footprint, num_trained
    from trainers.models.resolve import resolve_base
    from trainers.process.machine import available_bytes, num_cores

    model_dir = resolve_base(config)
    check_base(config, model_dir)
    needed, free, cores = footprint(config, model_dir), available_bytes(), num_cores()
    print(f"trains    {num_trained(config, model_dir):,} parameters ({config.method.method_type})")
    for name, num_bytes in (
        ("base, mapped, once a node", needed.shared_bytes),
        ("a worker: imports", needed.imports_bytes),
        ("a worker: of the base", needed.base_bytes),
        ("a worker: trained, optimizer", needed.trained_bytes),
        ("a worker: activations", needed.activation_bytes),
        ("a worker, together", needed.private_bytes),
    ):
        print(f"memory    {name:32} {num_bytes / GIB:8.2f} GiB")
    print(f"disk      a checkpoint {needed.checkpoint_bytes / 1e6:,.1f} MB")
    _tell_rows(config, model_dir)
    if sweep is not None:
        from tune.resources.capacity import plan_capacity

        capacity = plan_capacity(sweep, model_dir, num_cores=cores, free_bytes=free)
        print(f"sweep     {capacity.summary}")
        return 0
    workers = config.scaling.min_workers
    total = needed.shared_bytes + workers * needed.private_bytes
    if total > free and config.scaling.zero_stage == 0 and not config.scaling.use_gpu:
        raise UserError(
            f"scaling.num_workers: {workers} take about {total / GIB:.2f} GiB, but "
            f"{free / GIB:.2f} GiB are free here; lower num_workers, max_tokens_per_micro_batch or "
            "eval_batch_size, or run it elsewhere"
        )
    print(f"fits      {workers} workers take {total / GIB:.2f} of {free / GIB:.2f} GiB free here")
    return 0


def _tell_rows(config: Config, model_dir: Path) -> None:
    found = find_prepared(config.data, model_dir=model_dir, output_dir=output_directory(config))
    if found is None:
        print("rows      not prepared yet; python -m jobs.prepare counts tokens and steps")
        return
    train, settings = open_split(found.directory, "train"), config.train
    epoch = steps_per_epoch(len(train), settings.train_batch_size)
    steps = settings.num_train_epochs * epoch
    steps = min(steps, settings.max_steps) if settings.max_steps > 0 else steps
    tokens = int(train.lengths.sum())
    print(
        f"rows      {len(train):,} of {tokens:,} tokens, {epoch:,} steps an epoch; {steps:,} steps"
        f" of {tokens * steps // epoch:,} tokens in all, before shared prefixes are counted once"
    )


if __name__ == "__main__":
    run_verb(main)
