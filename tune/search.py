"""The search, from its ledger to its end: all trials, refit, leaderboard.

controller = open_controller(sweep, run_dir, prepared_dir)
search(controller, run, prepared, model_dir=model_dir, checkpoint_bytes=60_000_000, stop=stop)

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
from tune.leaderboard.board import read_leaderboard
from tune.leaderboard.files import leaderboard_markdown, write_leaderboard
from tune.leaderboard.page import write_page
from tune.refit import refit_group
from tune.resources.capacity import plan_capacity
from tune.resources.quota import DiskQuota
from tune.runner import run_segments, wait_until_free
from tune.trials.controller import SweepContext, SweepController
from tune.trials.trials import Trials


def open_controller(sweep: Sweep, run_dir: Path, prepared_dir: Path) -> SweepController:
    """The sweep's state, as its ledger has it.

    Raises:
        UserError: a row of more tokens than a micro-batch of some trial holds.
    """
    num_rows = len(open_split(prepared_dir, "train"))
    controller = SweepController(sweep, run_dir, num_rows, Trials(sweep))
    for group in controller.groups:
        check_budget(group.segments[-1].run.config, prepared_dir)
    return controller


def search(
    controller: SweepController,
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
        StoppedBySignal: the running trials have saved.
    """
    sweep, started = controller.sweep, time.monotonic()
    num_trials, num_threads = cluster_capacity(sweep, model_dir, run.run_dir)
    context = SweepContext(
        prepared.directory, prepared.data_hash, run.record["base"], num_threads, num_trials
    )
    quota = DiskQuota(sweep.settings.max_disk_bytes, checkpoint_bytes)
    try:
        run_segments(controller, context, quota, stop=stop)
        if sweep.settings.refit:
            refit(controller, context, quota, stop=stop)
        if not os.environ.get("RAY_ADDRESS"):  # other jobs may hold resources of a shared cluster
            wait_until_free()
    finally:
        before_s = run.record.get("time_s", {}).get("sweep", 0)
        run.set_time("sweep", before_s + time.monotonic() - started)
        write_results(controller)


def cluster_capacity(sweep: Sweep, model_dir: Path, directory: Path) -> tuple[int, int]:
    """Concurrent trials, and threads per worker as the sweep was started with."""
    local = not os.environ.get("RAY_ADDRESS")
    capacity = plan_capacity(
        sweep,
        model_dir,
        num_cores=int(ray.cluster_resources().get("CPU", 0)),
        free_bytes=available_bytes() if local else None,
        recorded_cpus=read_json(directory / STATE).get("num_threads"),
    )
    print(f"plan      {capacity.summary}")
    write_json(directory / STATE, read_json(directory / STATE) | {"num_threads": capacity.cpus})
    return capacity.num_trials, capacity.cpus


def refit(
    controller: SweepController, context: SweepContext, quota: DiskQuota, *, stop: StopSignal
) -> None:
    """Train the winner again on training and validation rows together."""
    board = read_leaderboard(controller, num_threads=context.num_threads)
    if board.best is not None:
        group = refit_group(board, context.prepared_dir, number=len(controller.groups))
        controller.refit = [group]
        run_segments(controller, context, quota, stop=stop)
        print(f"refit     {group.segments[0].run.directory}, not scored: no held-out row is left")


def write_results(controller: SweepController) -> None:
    """Write leaderboard and page, and print the table.

    Raises:
        RunFailed: the sweep has ended and no trial has a score.
    """
    board = read_leaderboard(
        controller, num_threads=read_json(controller.directory / STATE)["num_threads"]
    )
    write_leaderboard(board)
    print(f"\n{leaderboard_markdown(board)}\nreport    {write_page(board)}")
    if controller.done and board.best is None:
        raise RunFailed(
            f"no trial has a score; the first: {next(iter(controller.failed.values()))}"
        )
