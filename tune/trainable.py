"""What Tune runs on an actor: one leg of a run, or the scores that stand beside all trials.

    perform({"told": '{"kind": "leg", "until": 55, ...}'}, board=start_coordinator())

A leg of one worker is our loop in this process, with no trainer around it: the steps are those of
`jobs.finetune` with one worker. One of several workers is a run of Ray Train of its own. It is
never killed to be stopped: it ends where it was asked to, and where the board says so.
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
from tune.trials.branch import begin_with

LOOK_EVERY_S = 0.5


def perform(config: dict[str, str], board: Any) -> None:
    """Do what is told, and report how it ended; an exception is an ending too, told as a fault.

    One text, so that Tune takes it for one value: it flattens, copies and names trials by others.
    """
    told: dict[str, Any] = json.loads(config["told"]) | {"board": board}
    os.environ.update(told["environment"])
    import_peft()
    started, cpu = time.monotonic(), _cpu_s()
    ending: dict[str, Any] = {"left": False, "fault": None}
    try:
        finished = _leg(told) if told["kind"] == "leg" else _baselines(told)
        ending["left"] = not finished
    except RayError:
        raise  # the driver is gone, or the cluster
    except Exception as error:
        ending["fault"] = asdict(describe_error(error, rank=0))
    ending["wall_s"] = round(time.monotonic() - started, 2)
    ending["cpu_s"] = round(_cpu_s() - cpu, 2)
    ray_tune.report({"ending": json.dumps(ending)})


def fault_of(ending: dict[str, Any]) -> WorkerError | None:
    """The exception that ended it."""
    told = ending.get("fault")
    return None if told is None else WorkerError(**told)


def _leg(told: dict[str, Any]) -> bool:
    """Train until the step that is asked for; False if ordered to leave before."""
    from trainers.models.resolve import resolve_base

    config, prepared_dir = Config.model_validate(told["config"]), Path(told["prepared_dir"])
    model_dir = resolve_base(config)
    with _open(told, config, model_dir) as run:
        if told["start"] is not None:
            begin_with(Path(told["start"]["run_dir"]), told["start"]["step"], run.run_dir)
        run.update(
            model_dir=str(model_dir),
            prepared_dir=str(prepared_dir),
            num_workers=config.scaling.num_workers,
        )
        write_json(run.run_dir / "data.json", read_json(prepared_dir / "data.json"))
        finished = (_nested if is_nested(config) else _here)(told, config, run)
        facts = run_facts(run.run_dir)
        run.set_time("train", facts.pop("train_s"))
        run.set_time("evaluate", facts.pop("evaluate_s"))
        run.update(**facts)
        if finished and told["last"]:
            run.finish()
        elif finished:
            run.end("paused", 0, None)
        else:
            run.end("stopped", 0, None)
    return finished


def _open(told: dict[str, Any], config: Config, model_dir: Path) -> RunState:
    """The run's directory; no fault of the user's where an actor of a driver that was just killed
    still writes it, so it is tried again."""
    try:
        return RunState.open(
            config, data_hash=told["data_hash"], model_dir=model_dir, base=told["base"]
        )
    except UserError as error:
        raise RuntimeError(str(error)) from error


def _here(told: dict[str, Any], config: Config, run: RunState) -> bool:
    from trainers.loop import run as train
    from trainers.train_state import WorkerSpec

    state: dict[str, Any] = {}

    def tell(now: dict[str, Any]) -> Command:
        state.update(now)
        order: Command = ray.get(told["board"].heartbeat.remote(now | {"run": config.run_name}))
        return order

    job = WorkerSpec(
        config=config,
        run_dir=run.run_dir,
        prepared_dir=Path(told["prepared_dir"]),
        attempt=told["attempt"],
        rank=0,
        world_size=1,
        num_threads=told["num_threads"],
        until=told["until"],
        scored=told["scored"],
    )
    finished = train(job, tell)
    write_json(run.run_dir / PROGRESS, state)
    return finished


def _nested(told: dict[str, Any], config: Config, run: RunState) -> bool:
    from trainers.driver import fit

    stop = StopSignal()
    try:
        with _following(told["board"], stop):
            fit(
                config,
                prepared_dir=Path(told["prepared_dir"]),
                location=run.home,
                stop=stop,
                until=told["until"],
            )
    except StoppedBySignal:
        return False
    return True


@contextmanager
def _following(board: Any, stop: StopSignal) -> Iterator[None]:
    """Let the board's order to leave be a signal to `stop`, which the run's driver looks at."""
    import signal

    done = threading.Event()

    def follow() -> None:
        while not done.wait(LOOK_EVERY_S):
            if ray.get(board.heartbeat.remote({})) != Command.CONTINUE:
                stop.signum = signal.SIGTERM
                return

    thread = threading.Thread(target=follow, daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def _baselines(told: dict[str, Any]) -> bool:
    """Score what every trial is compared with, where it is not scored yet."""
    from trainers.evaluation.score_checkpoint import ScoringActor
    from trainers.run.scores import first_names

    config, sweep_dir = Config.model_validate(told["config"]), Path(told["sweep_dir"])
    path = sweep_dir / "scores.jsonl"
    answerer = ScoringActor(
        told["config"], str(sweep_dir), told["prepared_dir"], num_threads=told["num_threads"]
    )
    for name in first_names(config):
        if name not in {row["name"] for row in read_jsonl(path)}:
            score = answerer.score(name, None)
            if score is not None:
                append_jsonl(path, asdict(score))
    return True


def _cpu_s() -> float:
    """CPU time of this process; of a nested run, whose workers are others, it is the driver's."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime
