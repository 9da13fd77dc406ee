"""What Tune runs on an actor: one segment of a run, or scoring the baselines of the sweep.

    run_task({"task": '{"kind": "segment", "until": 55, ...}'}, coordinator=start_coordinator())

A segment with one worker runs our loop in this process, without a trainer around it: its steps are
those of `jobs.finetune` with one worker. A segment with several workers is a nested run of Ray
Train. Nothing kills it to stop it: it ends at its last step, or when the coordinator commands it.
"""

import json
import os
import resource
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import ray
from ray import tune as ray_tune
from ray.exceptions import RayError

from datasets_src.errors import UserError
from trainers.config.schema import Config
from trainers.models.peft_import import import_peft
from trainers.process.signals import StoppedBySignal, StopSignal
from trainers.run.state import PROGRESS, RunState, run_facts
from trainers.storage.json_files import append_jsonl, read_json, read_jsonl, write_json
from trainers.supervision.error_report import describe_error
from trainers.supervision.protocol import Command, WorkerError
from tune.config import is_nested
from tune.trials.branch import branch_from

POLL_S = 0.5


def run_task(config: dict[str, str], coordinator: Any) -> None:
    """Run one task and report its outcome once; an exception is an outcome with an `error`.

    The task is one JSON string, because Tune flattens and copies nested values and names trials by
    them.
    """
    task: dict[str, Any] = json.loads(config["task"]) | {"coordinator": coordinator}
    os.environ.update(task["environment"])
    import_peft()
    started, cpu = time.monotonic(), _cpu_s()
    outcome: dict[str, Any] = {"interrupted": False, "error": None}
    try:
        finished = _segment(task) if task["kind"] == "segment" else _baselines(task)
        outcome["interrupted"] = not finished
    except RayError:
        raise  # the driver or the cluster is gone
    except Exception as error:
        outcome["error"] = asdict(describe_error(error, rank=0))
    outcome["wall_s"] = round(time.monotonic() - started, 2)
    outcome["cpu_s"] = round(_cpu_s() - cpu, 2)
    ray_tune.report({"outcome": json.dumps(outcome)})


def error_of(outcome: dict[str, Any]) -> WorkerError | None:
    """The exception that ended the task, if one did."""
    error = outcome.get("error")
    return None if error is None else WorkerError(**error)


def _segment(task: dict[str, Any]) -> bool:
    """Train until the segment's last step; False if commanded to exit before."""
    from trainers.models.resolve import resolve_base

    config, prepared_dir = Config.model_validate(task["config"]), Path(task["prepared_dir"])
    model_dir = resolve_base(config)
    with _open(task, config, model_dir) as run:
        if task["parent"] is not None:
            branch_from(Path(task["parent"]["run_dir"]), task["parent"]["step"], run.run_dir)
        run.update(
            model_dir=str(model_dir),
            prepared_dir=str(prepared_dir),
            num_workers=config.scaling.num_workers,
        )
        write_json(run.run_dir / "data.json", read_json(prepared_dir / "data.json"))
        finished = (_nested if is_nested(config) else _in_process)(task, config, run)
        facts = run_facts(run.run_dir)
        run.set_time("train", facts.pop("train_s"))
        run.set_time("evaluate", facts.pop("evaluate_s"))
        run.update(**facts)
        if finished and task["last"]:
            run.finish()
        elif finished:
            run.end("paused", 0, None)
        else:
            run.end("stopped", 0, None)
    return finished


def _open(task: dict[str, Any], config: Config, model_dir: Path) -> RunState:
    """The run's directory. That it is in use is no user error here: an actor of a driver that was
    just killed may still write to it, so the attempt is retried."""
    try:
        return RunState.open(
            config, data_hash=task["data_hash"], model_dir=model_dir, base=task["base"]
        )
    except UserError as error:
        raise RuntimeError(str(error)) from error


def _in_process(task: dict[str, Any], config: Config, run: RunState) -> bool:
    from trainers.loop import run as train
    from trainers.train_state import WorkerSpec

    last_progress: dict[str, Any] = {}

    def report(progress: dict[str, Any]) -> Command:
        last_progress.update(progress)
        heartbeat = task["coordinator"].heartbeat.remote(progress | {"run": config.run_name})
        command: Command = ray.get(heartbeat)
        return command

    spec = WorkerSpec(
        config=config,
        run_dir=run.run_dir,
        prepared_dir=Path(task["prepared_dir"]),
        attempt=task["attempt"],
        rank=0,
        world_size=1,
        num_threads=task["num_threads"],
        until=task["until"],
        scored=task["scored"],
    )
    finished = train(spec, report)
    write_json(run.run_dir / PROGRESS, last_progress)
    return finished


def _nested(task: dict[str, Any], config: Config, run: RunState) -> bool:
    from trainers.driver import fit

    stop = StopSignal()
    try:
        with _forwarding_commands(task["coordinator"], stop):
            fit(
                config,
                prepared_dir=Path(task["prepared_dir"]),
                location=run.home,
                stop=stop,
                until=task["until"],
            )
    except StoppedBySignal:
        return False
    return True


@contextmanager
def _forwarding_commands(coordinator: Any, stop: StopSignal) -> Iterator[None]:
    """Turn the coordinator's command to exit into a signal that the nested driver reads."""
    import signal

    done = threading.Event()

    def poll() -> None:
        while not done.wait(POLL_S):
            if ray.get(coordinator.heartbeat.remote({})) != Command.CONTINUE:
                stop.signum = signal.SIGTERM
                return

    thread = threading.Thread(target=poll, daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def _baselines(task: dict[str, Any]) -> bool:
    """Score the baselines that all trials are compared with, unless they are scored already."""
    from trainers.evaluation.scoring_actor import ScoringActor
    from trainers.run.scores import first_names

    config, sweep_dir = Config.model_validate(task["config"]), Path(task["sweep_dir"])
    path = sweep_dir / "scores.jsonl"
    scorer = ScoringActor(
        task["config"], str(sweep_dir), task["prepared_dir"], num_threads=task["num_threads"]
    )
    for name in first_names(config):
        if name not in {row["name"] for row in read_jsonl(path)}:
            score = scorer.score(name, None)
            if score is not None:
                append_jsonl(path, asdict(score))
    return True


def _cpu_s() -> float:
    """CPU time of this process; of a nested run only the driver's, not that of its workers."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime
