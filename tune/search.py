"""The search, from its ledger to its end: all trials, refit, leaderboard.

director = open_director(sweep, run_dir, prepared_dir)
search(director, run, prepared, model_dir=model_dir, checkpoint_bytes=60_000_000, stop=stop)

Ray has been started. The leaderboard is written however the search ends.
"""

import os
import time
from pathlib import Path

import ray

from datasets_src.pipeline import Prepared
from datasets_src.prepared.store import open_split
from trainers.driver import check_budget
from trainers.process.machine import available_bytes
from trainers.process.signals import RunFailed, StopSignal
from trainers.run.state import RunState
from trainers.storage.json_files import read_json, write_json
from tune.checks import STATE
from tune.config import Sweep
from tune.leaderboard.board import read_board
from tune.leaderboard.files import board_markdown, write_board
from tune.leaderboard.page import write_page
from tune.refit import refit_line
from tune.resources.capacity import plan_capacity
from tune.resources.room import Room
from tune.runner import run_legs, wait_until_free
from tune.trials.director import Director, Work
from tune.trials.trials import Trials


def open_director(sweep: Sweep, run_dir: Path, prepared_dir: Path) -> Director:
    """The sweep's state, as its ledger has it.

    Raises:
        UserError: a row of more tokens than a micro-batch of some trial holds.
    """
    num_rows = len(open_split(prepared_dir, "train"))
    director = Director(sweep, run_dir, num_rows, Trials(sweep))
    for line in director.lines:
        check_budget(line.legs[-1].run.config, prepared_dir)
    return director


def search(
    director: Director,
    run: RunState,
    prepared: Prepared,
    *,
    model_dir: Path,
    checkpoint_bytes: int,
    stop: StopSignal,
) -> None:
    """Train and score what is left of the sweep; write the leaderboard in any case.

    Raises:
        UserError, RunFailed: what ends the whole sweep; no trial has a score.
        StoppedBySignal: the trials at work have saved.
    """
    sweep, started = director.sweep, time.monotonic()
    num_trials, num_threads = cluster_capacity(sweep, model_dir, run.run_dir)
    work = Work(prepared.directory, prepared.data_hash, run.record["base"], num_threads, num_trials)
    room = Room(sweep.settings.max_disk_bytes, checkpoint_bytes)
    try:
        run_legs(director, work, room, stop=stop)
        if sweep.settings.refit:
            refit(director, work, room, stop=stop)
        if not os.environ.get("RAY_ADDRESS"):  # other jobs may hold resources of a shared cluster
            wait_until_free()
    finally:
        before_s = run.record.get("time_s", {}).get("sweep", 0)
        run.set_time("sweep", before_s + time.monotonic() - started)
        write_leaderboard(director)


def cluster_capacity(sweep: Sweep, model_dir: Path, directory: Path) -> tuple[int, int]:
    """Concurrent trials, and threads per worker as the sweep was started with."""
    local = not os.environ.get("RAY_ADDRESS")
    capacity = plan_capacity(
        sweep,
        model_dir,
        num_cores=int(ray.cluster_resources().get("CPU", 0)),
        free_bytes=available_bytes() if local else None,
        known_cpus=read_json(directory / STATE).get("num_threads"),
    )
    print(f"plan      {capacity.told}")
    write_json(directory / STATE, read_json(directory / STATE) | {"num_threads": capacity.cpus})
    return capacity.num_trials, capacity.cpus


def refit(director: Director, work: Work, room: Room, *, stop: StopSignal) -> None:
    """Train the winner again on training and validation rows together."""
    board = read_board(director, num_threads=work.num_threads)
    if board.best is not None:
        line = refit_line(board, work.prepared_dir, number=len(director.lines))
        director.after = [line]
        run_legs(director, work, room, stop=stop)
        print(f"refit     {line.legs[0].run.directory}, not scored: no held-out row is left")


def write_leaderboard(director: Director) -> None:
    """Write leaderboard and page, and print the table.

    Raises:
        RunFailed: the sweep has ended and no trial has a score.
    """
    board = read_board(director, num_threads=read_json(director.directory / STATE)["num_threads"])
    write_board(board)
    print(f"\n{board_markdown(board)}\nreport    {write_page(board)}")
    if director.done and board.best is None:
        raise RunFailed(f"no trial has a score; the first: {next(iter(director.failed.values()))}")
