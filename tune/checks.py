"""What can be refused before Ray starts: trials, base and method, disk budget, capacity, search.

configs = trial_configs(sweep)                              every fault of every trial at once
checkpoint_bytes = check_resources(sweep, configs, model_dir)
record_search(sweep, run_dir)                               refuses a changed search
"""

import os
from pathlib import Path

from datasets_src.errors import UserError
from trainers.config.schema import Config
from trainers.storage.json_files import read_json, read_jsonl, write_json, write_jsonl
from tune.config import Sweep, SweepConfig
from tune.resources.capacity import plan_capacity
from tune.strategy.searchers import next_draws
from tune.trials.trials import EPOCHS, Trials, check_range_limits, why_not_shared

STATE = "sweep.json"  # of the sweep's directory: what is searched, threads per worker


def trial_configs(sweep: Sweep) -> list[Config]:
    """The configs of all trials that are known before the first one runs.

    Raises:
        UserError: every fault of every trial.
    """
    check_range_limits(sweep)
    trials = Trials(sweep)
    trials.add(next_draws(sweep, []))
    return [trial.config for trial in trials.by_key.values()]


def check_resources(sweep: Sweep, configs: list[Config], model_dir: Path) -> int:
    """Check base, methods, disk budget and capacity; bytes of the largest trial's checkpoint.

    Raises:
        UserError: a base or a method that cannot be trained, or a limit below what one trial needs.
    """
    check_models(configs, model_dir)
    checkpoint_bytes = check_disk(sweep, configs, model_dir)
    if not os.environ.get("RAY_ADDRESS"):  # the trials run on this machine
        check_capacity(sweep, model_dir)
    return checkpoint_bytes


def check_models(configs: list[Config], model_dir: Path) -> None:
    """Refuse a base or a method that cannot be trained."""
    from trainers.methods.choose import method_module
    from trainers.models.base_checks import check_base

    check_base(configs[0], model_dir)
    for method in {config.method.model_dump_json(): config.method for config in configs}.values():
        method_module(method).check(model_dir, method)


def check_disk(sweep: Sweep, configs: list[Config], model_dir: Path) -> int:
    """Bytes of the largest checkpoint; refuse a budget below what one trial needs."""
    from trainers.models.memory_estimate import checkpoint_bytes

    largest = max(checkpoint_bytes(config, model_dir) for config in configs)
    limit, num_checkpoints = sweep.settings.max_disk_bytes, sweep.settings.max_checkpoints + 1
    if sweep.settings.scheduler == "pbt":  # a generation waits until all its trials have arrived
        num_checkpoints = sweep.settings.max_checkpoints + len(configs)
    if limit is not None and limit < num_checkpoints * largest:
        raise UserError(
            f"sweep.max_disk_bytes: {limit:,} is less than the sweep needs: one checkpoint takes "
            f"{largest:,}, and it keeps at least {num_checkpoints}; set "
            f"max_disk_bytes={num_checkpoints * largest}"
        )
    return largest


def check_capacity(sweep: Sweep, model_dir: Path) -> None:
    """Refuse more concurrent trials than fit this machine."""
    from trainers.process.machine import available_bytes, num_cores

    plan_capacity(sweep, model_dir, num_cores=num_cores(), free_bytes=available_bytes())


def print_trials(sweep: Sweep, configs: list[Config]) -> None:
    """Print what is searched, and why trials of different length cannot share training."""
    settings = sweep.settings
    searched = ", ".join(name.rsplit(".", 1)[-1] for name in sweep.space.names)
    strategy = f"{settings.searcher}, {settings.scheduler}"
    print(f"sweep     {len(configs)} trials of {searched} ({strategy}), by {sweep.metric}")
    reasons = dict.fromkeys(filter(None, map(why_not_shared, configs)))
    if EPOCHS in sweep.space.names and reasons:
        print(f"epochs    trained separately: {'; '.join(reasons)}")


def record_search(sweep: Sweep, directory: Path) -> None:
    """Write what is searched to sweep.json.

    Raises:
        UserError: the directory holds another search.
    """
    search = sweep.settings.model_dump(mode="json") | {
        key: value for key, value in sweep.section.items() if key not in SweepConfig.model_fields
    }
    recorded = read_json(directory / STATE).get("sweep", search)
    changes = [
        f"sweep.{key}: {recorded.get(key)!r} -> {search.get(key)!r}"
        for key in sorted(recorded.keys() | search.keys())
        if recorded.get(key) != search.get(key) and key not in sweep.settings.changeable
    ]
    if changes:
        raise UserError(
            f"run_name: {directory} holds another search ({'; '.join(changes)}); choose another "
            "run_name, or restore these values to resume"
        )
    write_json(directory / STATE, read_json(directory / STATE) | {"sweep": search})
    scores = directory / "scores.jsonl"
    write_jsonl(scores, list(read_jsonl(scores)))  # drops a half-written last line
