"""Search a config's best values: `python -m jobs.sweep CONFIG.yaml [key=value]`.

The `sweep:` section names fields and how they are searched. The same command again resumes the
sweep from its ledger: what has ended is not trained again. The path:
main -> run_sweep -> tune/search.py search -> tune/runner.py run_segments
-> tune/trainable.py run_task -> trainers/loop.py run.
"""

import argparse
import sys
from functools import partial
from pathlib import Path

from jobs.common.cli import give_up, key_lines, run_verb
from jobs.common.preflight import check_storage, check_zero
from jobs.common.ray_session import start_ray
from jobs.prepare import prepare_rows
from trainers.config.load import leaves
from trainers.process.signals import StopSignal
from trainers.run.state import RunState
from tune.checks import check_resources, print_trials, record_search, trial_configs
from tune.config import Sweep, SweepConfig, load_sweep


def main(argv: list[str]) -> int:
    """Run the trials, choose the best checkpoint of all, write leaderboard and page."""
    parser = argparse.ArgumentParser(
        prog="python -m jobs.sweep",
        description="Search the best values of a config's fields: see docs/sweep.md.",
        epilog="\n".join(key_lines("sweep", leaves(SweepConfig, "sweep."))),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("config", type=Path, metavar="CONFIG.yaml")
    args, overrides = parser.parse_known_args(argv)
    sweep = load_sweep(args.config, overrides)
    for note in sweep.notes:
        print(f"note: {note}", file=sys.stderr)
    return run_sweep(sweep)


def run_sweep(sweep: Sweep) -> int:
    """Run `sweep` from where it is to its end; exit code 0, or a UserError."""
    stop = StopSignal()
    stop.install()
    configs = trial_configs(sweep)
    check_zero(sweep.base)
    from trainers.models.resolve import resolve_base

    model_dir = resolve_base(sweep.base)
    checkpoint_bytes = check_resources(sweep, configs, model_dir)
    check_storage(sweep.without_export, model_dir)
    print_trials(sweep, configs)
    prepared = prepare_rows(sweep.base, model_dir)
    run = RunState.open(
        sweep.base, data_hash=prepared.data_hash, model_dir=model_dir, on_lost=stop.lose
    )
    with run:
        record_search(sweep, run.run_dir)
        from trainers.supervision.head_node import HeadNodeMonitor
        from tune.search import open_controller, search, write_results

        controller = open_controller(sweep, run.run_dir, prepared.directory)
        if controller.done and not sweep.settings.refit:
            print(f"{sweep.base.run_name} is finished; nothing to train")
            write_results(controller)
        else:
            start_ray()
            stop.install()  # ray.init has replaced our signal handlers
            with HeadNodeMonitor(partial(give_up, run)):
                search(
                    controller, run, prepared,
                    model_dir=model_dir, checkpoint_bytes=checkpoint_bytes, stop=stop,
                )  # fmt: skip
        run.finish()
    return 0


if __name__ == "__main__":
    run_verb(main)
