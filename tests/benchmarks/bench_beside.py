"""The cost of scoring during training: step time with and without a scoring actor.

    python -m tests.benchmarks.bench_beside      # last line: one JSON object

One real run with one worker on one core, and a spare core. On the spare core, in turn: a scoring
actor generates replies to the 136 shipped validation rows for checkpoint after checkpoint
(`eval.num_eval_workers`), with more checkpoints than it can score; nothing, with the actor stopped
by SIGSTOP; or, with the actor stopped, an unrelated process of the lowest priority multiplies small
matrices in its cache, which measures the cost of any busy core on this machine. Turns last 1.5 s,
in random order within each round; steps that overlap two turns are discarded.
"""

import json
import os
import random
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil

from jobs.prepare import prepare_rows
from trainers.config.load import load_config
from trainers.driver import fit
from trainers.evaluation.scoring_actor import LOWEST_NICENESS
from trainers.models.resolve import resolve_base
from trainers.process.background import Background
from trainers.process.signals import StoppedBySignal, StopSignal
from trainers.storage.json_files import read_jsonl

ROOT = Path(__file__).resolve().parents[2]
# The benchmark's name in `make bench` and in its JSON object.
NAME = Path(__file__).stem.removeprefix("bench_")
ALONE, BUSY_CORE, SCORING = "alone", "busy_core", NAME
ROUNDS = 45
TURN_S = 1.5
EPOCHS = 1000  # more than the rounds need; the run is stopped after them
SAVE_STEPS = 10  # a checkpoint every 0.6 s, faster than one can be scored
EVAL_BATCH_SIZE = 4  # 1 to 2 s per checkpoint, so that the driver's pauses are short in comparison
WARM_UP_STEPS = 60
BUSY = f"""
import os, torch
os.nice({LOWEST_NICENESS})
torch.set_num_threads(1)
a = torch.randn(128, 128)
while os.getppid() == {{parent}}:
    a = torch.nn.functional.normalize(a @ a)
"""


@contextmanager
def busy_core() -> Iterator[psutil.Process]:
    """A process that computes on one core and stays in its cache."""
    command = [sys.executable, "-c", BUSY.format(parent=os.getpid())]
    with subprocess.Popen(command) as process:
        yield psutil.Process(process.pid)
        process.kill()


def actors() -> list[psutil.Process]:
    """The scoring actor of this process's Ray, and its SQL worker processes."""
    ours = psutil.Process().children(recursive=True)
    found = [process for process in ours if process.name().startswith("ray::ScoringAct")]
    return found + [child for process in found for child in process.children()]


def let_run(processes: list[psutil.Process], *, is_turn: bool) -> None:
    """Resume the processes (SIGCONT), or stop them (SIGSTOP)."""
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            process.send_signal(signal.SIGCONT if is_turn else signal.SIGSTOP)


def cpu_s(processes: list[psutil.Process]) -> float:
    """CPU seconds that the processes have used."""
    return sum(sum(process.cpu_times()[:2]) for process in processes if process.is_running())


class Turns:
    """Step times of each side, and the share of its core that the actor used in its turns."""

    def __init__(self, metrics: Path) -> None:
        self.seconds: dict[str, list[float]] = {ALONE: [], BUSY_CORE: [], SCORING: []}
        self._metrics, self._used_s, self._took_s = metrics, 0.0, 0.0

    @property
    def core_share(self) -> float:
        """Share of a core used by the actor and its SQL workers in their turns."""
        return self._used_s / self._took_s

    def take(self) -> None:
        """All rounds, while the run trains; leaves every process running."""
        while len(self._steps()) < WARM_UP_STEPS or not actors():
            time.sleep(TURN_S)
        with busy_core() as busy:
            for turn in range(ROUNDS):
                for side in random.sample(list(self.seconds), len(self.seconds)):
                    let_run([busy], is_turn=side == BUSY_CORE)
                    self._take_one(side)
                medians = {side: statistics.median(steps) for side, steps in self.seconds.items()}
                listed = ", ".join(f"{side} {median * 1e3:.1f}" for side, median in medians.items())
                print(f"round {turn + 1} of {ROUNDS}: {listed} ms per step", flush=True)
        let_run(actors(), is_turn=True)

    def _take_one(self, side: str) -> None:
        scoring = actors()
        let_run(scoring, is_turn=side == SCORING)
        used_s, started, first = cpu_s(scoring), time.monotonic(), len(self._steps())
        time.sleep(TURN_S)
        self.seconds[side] += self._steps()[first + 1 :]
        if side == SCORING:
            self._used_s += cpu_s(scoring) - used_s
            self._took_s += time.monotonic() - started

    def _steps(self) -> list[float]:
        return [row["step_time_s"] for row in read_jsonl(self._metrics)]


def main() -> None:
    with tempfile.TemporaryDirectory() as scratch:
        options = {
            **{"output_dir": scratch, "num_train_epochs": EPOCHS, "save_strategy": "steps"},
            **{"save_steps": SAVE_STEPS, "num_workers": 1, "cpus_per_worker": 1},
            **{"num_eval_workers": 1, "eval_batch_size": EVAL_BATCH_SIZE},
        }
        config, _ = load_config(
            ROOT / "jobs/configs/quickstart.yaml", [f"{k}={v}" for k, v in options.items()]
        )
        prepared = prepare_rows(config, resolve_base(config)).directory
        stop, turns = StopSignal(), Turns(Path(scratch) / config.run_name / "metrics.jsonl")
        rounds = Background(lambda: take_rounds(turns, stop))
        with suppress(StoppedBySignal):
            fit(config, prepared_dir=prepared, stop=stop)
        if rounds.error is not None:
            raise rounds.error
    medians = {side: statistics.median(steps) for side, steps in turns.seconds.items()}
    figures = {
        **{f"{side}_s": round(median, 5) for side, median in medians.items()},
        "slower": round(medians[SCORING] / medians[ALONE] - 1, 4),
        "slower_than_busy_core": round(medians[SCORING] / medians[BUSY_CORE] - 1, 4),
        "machines_own": round(medians[BUSY_CORE] / medians[ALONE] - 1, 4),
        "core_share": round(turns.core_share, 3),
        "num_steps": {side: len(steps) for side, steps in turns.seconds.items()},
    }
    print(json.dumps({"bench": NAME, **figures}))


def take_rounds(turns: Turns, stop: StopSignal) -> None:
    """All rounds; then end the run as Ctrl-C does."""
    try:
        turns.take()
    finally:
        stop.signum = signal.SIGINT


if __name__ == "__main__":
    main()
