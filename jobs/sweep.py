"""Search a config's best values: `python -m jobs.sweep CONFIG.yaml [key=value]`.

The `sweep:` section names fields and how they are searched. The same command again goes on where it
was stopped: what is finished never runs again. The path:
main -> sweep -> tune/runner.py run_legs -> tune/trainable.py perform -> trainers/loop.py run.
"""

import argparse
import os
import sys
import time
from functools import partial
from pathlib import Path

from datasets_src.errors import UserError
from datasets_src.pipeline import Prepared
from datasets_src.prepared.store import open_split
from jobs.common.cli import end_failed, key_lines, run_verb
from jobs.common.preflight import check_storage, check_zero
from jobs.common.ray_session import start_ray
from jobs.prepare import prepare_rows
from trainers.config.load import leaves
from trainers.config.schema import Config
from trainers.process.signals import RunFailed, StopSignal
from trainers.run.state import RunState
from trainers.storage.json_files import read_json, read_jsonl, write_json, write_jsonl
from tune.config import Sweep, SweepConfig, load_sweep
from tune.leaderboard.board import read_board
from tune.leaderboard.files import board_markdown, write_board
from tune.leaderboard.page import write_page
from tune.resources.room import Room
from tune.strategy.searchers import next_draws
from tune.trials.director import Director, Work
from tune.trials.trials import EPOCHS, Trials, check_ends, why_apart

STATE = "sweep.json"


def main(argv: list[str]) -> int:
    """Try the values, choose the best checkpoint of all trials, write leaderboard and page."""
    parser = argparse.ArgumentParser(
        prog="python -m jobs.sweep",
        description="Search the values of a config's fields: see docs/sweep.md.",
        epilog="\n".join(key_lines("sweep", leaves(SweepConfig, "sweep."))),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("config", type=Path, metavar="CONFIG.yaml")
    args, overrides = parser.parse_known_args(argv)
    found = load_sweep(args.config, overrides)
    for note in found.notes:
        print(f"note: {note}", file=sys.stderr)
    return sweep(found)


def sweep(sweep: Sweep) -> int:
    """Run `sweep` from where it stands to its end; exit code 0, or a UserError."""
    stop = StopSignal()
    stop.install()
    trials = check_trials(sweep)
    check_zero(sweep.base)
    from trainers.models.resolve import resolve_base

    model_dir = resolve_base(sweep.base)
    check_models(trials, model_dir)
    check_storage(without_export(sweep.base), model_dir)
    needed = check_disk(sweep, trials, model_dir)
    check_capacity(sweep, model_dir)
    tell_trials(sweep, trials)
    prepared = prepare_rows(sweep.base, model_dir)
    run = RunState.open(
        sweep.base, data_hash=prepared.data_hash, model_dir=model_dir, on_lost=stop.lose
    )
    with run:
        begin(sweep, run.run_dir)
        _search(sweep, run, prepared, model_dir, stop=stop, checkpoint_bytes=needed)
        run.finish()
    return 0


def check_trials(sweep: Sweep) -> list[Config]:
    """The configs of all trials that are known before the first; every fault of every one."""
    check_ends(sweep)
    trials = Trials(sweep)
    trials.add(next_draws(sweep, []))
    return [trial.config for trial in trials.by_key.values()]


def check_models(configs: list[Config], model_dir: Path) -> None:
    """Refuse a base or a method that cannot work."""
    from trainers.methods.choose import method_module
    from trainers.models.resolve import attention_of

    attention_of(model_dir)
    for method in {config.method.model_dump_json(): config.method for config in configs}.values():
        method_module(method).check(model_dir, method)


def check_disk(sweep: Sweep, configs: list[Config], model_dir: Path) -> int:
    """Bytes of the largest checkpoint; refuse a budget that does not hold what one trial needs."""
    from trainers.models.memory_estimate import checkpoint_bytes

    largest = max(checkpoint_bytes(config, model_dir) for config in configs)
    limit, most = sweep.settings.max_disk_bytes, sweep.settings.checkpoints_at_work + 1
    if sweep.settings.scheduler == "pbt":  # a whole generation waits for each other
        most = sweep.settings.checkpoints_at_work + len(configs)
    if limit is not None and limit < most * largest:
        raise UserError(
            f"sweep.max_disk_bytes: {limit:,} is less than a sweep needs: one checkpoint takes "
            f"{largest:,}, and it has {most} of them at least; set "
            f"max_disk_bytes={most * largest}"
        )
    return largest


def check_capacity(sweep: Sweep, model_dir: Path) -> None:
    """Refuse more trials at a time than fit this machine, where they are to run here."""
    if not os.environ.get("RAY_ADDRESS"):
        from trainers.process.machine import available_bytes, num_cores
        from tune.resources.capacity import plan_capacity

        plan_capacity(sweep, model_dir, num_cores=num_cores(), free_bytes=available_bytes())


def without_export(config: Config) -> Config:
    """The config of a sweep's storage: nothing is exported there."""
    return config.model_copy(
        update={"export": config.export.model_copy(update={"export_best": False})}
    )


def tell_trials(sweep: Sweep, configs: list[Config]) -> None:
    """Print what is searched, and why numbers of epochs are trained apart where they are."""
    settings = sweep.settings
    searched = ", ".join(name.rsplit(".", 1)[-1] for name in sweep.space.names)
    how = f"{settings.searcher}, {settings.scheduler}"
    print(f"sweep     {len(configs)} trials of {searched} ({how}), by {sweep.metric}")
    whys = dict.fromkeys(filter(None, map(why_apart, configs)))
    if EPOCHS in sweep.space.names and whys:
        print(f"epochs    are trained apart: {'; '.join(whys)}")


def begin(sweep: Sweep, directory: Path) -> None:
    """Keep what is searched; refuse another search under an old name."""
    told = sweep.settings.model_dump(mode="json") | {
        key: value for key, value in sweep.given.items() if key not in SweepConfig.model_fields
    }
    old = read_json(directory / STATE).get("sweep", told)
    changes = [
        f"sweep.{key}: {old.get(key)!r} -> {told.get(key)!r}"
        for key in sorted(old.keys() | told.keys())
        if old.get(key) != told.get(key) and key not in sweep.settings.free
    ]
    if changes:
        raise UserError(
            f"run_name: {directory} was begun with another search ({'; '.join(changes)}); choose "
            "another run_name, or put it back to continue it"
        )
    write_json(directory / STATE, read_json(directory / STATE) | {"sweep": told})
    scores = directory / "scores.jsonl"
    write_jsonl(scores, list(read_jsonl(scores)))  # without a line that was left half


def _search(
    sweep: Sweep,
    run: RunState,
    prepared: Prepared,
    model_dir: Path,
    *,
    stop: StopSignal,
    checkpoint_bytes: int,
) -> None:
    from trainers.driver import check_budget
    from trainers.supervision.head_node import HeadNodeMonitor
    from tune.runner import run_legs, wait_until_free

    num_rows = len(open_split(prepared.directory, "train"))
    director = Director(sweep, run.run_dir, num_rows, Trials(sweep))
    for line in director.lines:
        check_budget(line.legs[-1].run.config, prepared.directory)
    if director.done and not sweep.settings.refit:
        print(f"{sweep.base.run_name} is finished; nothing is trained again")
        _write(director, read_json(run.run_dir / STATE)["num_threads"])
        return
    start_ray()
    stop.install()  # Ray has put its own handlers in their place
    num_trials, num_threads = capacity_of_cluster(sweep, model_dir, run.run_dir)
    work = Work(prepared.directory, prepared.data_hash, run.record["base"], num_threads, num_trials)
    room, started = Room(sweep.settings.max_disk_bytes, checkpoint_bytes), time.monotonic()
    try:
        with HeadNodeMonitor(partial(_give_up, run)):
            run_legs(director, work, room, stop=stop)
            if sweep.settings.refit:
                _refit(director, work, room, stop=stop)
            if not os.environ.get("RAY_ADDRESS"):  # a cluster of many may be busy with others
                wait_until_free()
    finally:
        run.set_time(
            "sweep", run.record.get("time_s", {}).get("sweep", 0) + time.monotonic() - started
        )
        _write(director, num_threads)


def _refit(director: Director, work: Work, room: Room, *, stop: StopSignal) -> None:
    from tune.refit import refit_line
    from tune.runner import run_legs

    board = read_board(director, num_threads=work.num_threads)
    if board.best is not None:
        line = refit_line(board, work.prepared_dir, number=len(director.lines))
        director.after = [line]
        run_legs(director, work, room, stop=stop)
        print(f"refit     {line.legs[0].run.directory}, not scored: no row is left for that")


def capacity_of_cluster(sweep: Sweep, model_dir: Path, directory: Path) -> tuple[int, int]:
    """Trials at a time and cores of each worker, as the sweep began with where it goes on."""
    import ray

    from trainers.process.machine import available_bytes
    from tune.resources.capacity import plan_capacity

    here = not os.environ.get("RAY_ADDRESS")
    capacity = plan_capacity(
        sweep,
        model_dir,
        num_cores=int(ray.cluster_resources().get("CPU", 0)),
        free_bytes=available_bytes() if here else None,
        known_cpus=read_json(directory / STATE).get("num_threads"),
    )
    print(f"plan      {capacity.told}")
    write_json(directory / STATE, read_json(directory / STATE) | {"num_threads": capacity.cpus})
    return capacity.num_trials, capacity.cpus


def _write(director: Director, num_threads: int) -> None:
    board = read_board(director, num_threads=num_threads)
    write_board(board)
    print(f"\n{board_markdown(board)}\nreport    {write_page(board)}")
    if director.done and board.best is None:
        raise RunFailed(
            f"no trial came to a score; the first: {next(iter(director.failed.values()))}"
        )


def _give_up(run: RunState, why: str) -> None:
    """End the process from whatever thread: the main one may hang in a call to the cluster."""
    run.end("failed", 1, why)
    end_failed(why)
    os._exit(1)


if __name__ == "__main__":
    run_verb(main)
