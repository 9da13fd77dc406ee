"""The shipped sweep compared with its 8 runs trained one by one: CPU-seconds and best checkpoint.

    python -m tests.benchmarks.bench_sweep       # last line: one JSON object

Both sides are the commands a user types, with all processes that Ray starts. Then the memory of
four concurrent trials on one base of 400 MB, compared with four processes with their own copies.
"""

import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import yaml

from tests.benchmarks.sweep_memory import memory_of_trials
from tests.faults.harness import marked
from trainers.run.scores import best_score
from trainers.storage.json_files import read_json
from tune.config import load_sweep
from tune.strategy.searchers import next_draws
from tune.trials.trials import Trials

ROOT = Path(__file__).resolve().parents[2]
CONFIG = ROOT / "jobs/configs/sweep_text2sql.yaml"
SAMPLE_S = 0.5


class CpuMeter:
    """CPU-seconds of all marked processes, sampled: time after a last sample is missed."""

    def __init__(self, mark: Path) -> None:
        self._mark, self._stop = mark, threading.Event()
        self._seen: dict[tuple[int, float], float] = {}

    @property
    def cpu_s(self) -> float:
        """CPU-seconds seen so far."""
        return sum(self._seen.values())

    @contextmanager
    def measuring(self) -> Iterator[None]:
        """Sample until the context ends."""
        thread = threading.Thread(target=self._watch, daemon=True)
        thread.start()
        try:
            yield
        finally:
            self._stop.set()
            thread.join()

    def _watch(self) -> None:
        while not self._stop.wait(SAMPLE_S):
            for process in marked(self._mark):
                try:
                    times = process.cpu_times()
                    self._seen[process.pid, process.create_time()] = times.user + times.system
                except psutil.NoSuchProcess:
                    continue


def run_verb(verb: str, config: Path, mark: Path, *overrides: str) -> tuple[float, float]:
    """CPU-seconds and wall seconds of one command."""
    env = {k: v for k, v in os.environ.items() if not k.startswith("RAY_")}
    env |= {"GALLIPATO_FAILPOINTS_DIR": str(mark), "OMP_WAIT_POLICY": "PASSIVE"}
    mark.mkdir(exist_ok=True)
    meter, started = CpuMeter(mark), time.monotonic()
    with meter.measuring():
        command = [sys.executable, "-m", verb, str(config), *overrides]
        subprocess.run(command, cwd=ROOT, env=env, stdout=sys.stderr, check=True)
    return meter.cpu_s, time.monotonic() - started


def one_by_one(scratch: Path) -> tuple[float, dict[str, Any]]:
    """CPU-seconds of the 8 runs, and the best (trial, checkpoint) of all."""
    os.chdir(ROOT)
    sweep = load_sweep(CONFIG, [f"output_dir={scratch}"])
    trials = Trials(sweep).add(next_draws(sweep, []))
    total, found = 0.0, []
    for trial in trials:
        raw = trial.config.model_dump(mode="json")
        raw |= {"run_name": f"alone-{trial.number}", "export": {"export_best": False}}
        raw["scaling"] |= {"cpus_per_worker": 1}
        path = scratch / f"{trial.number}.yaml"
        path.write_text(yaml.safe_dump(raw))
        cpu_s, _ = run_verb("jobs.finetune", path, scratch / f"mark-{trial.number}")
        total += cpu_s
        best = best_score(scratch / f"alone-{trial.number}")
        assert best is not None
        found.append((-best.metrics[best.metric], best.step, trial.number, best.name))
        print(f"trial {trial.number}: {-found[-1][0]:.3f} at {best.name}, {cpu_s:.0f} CPU-s")
    value, _, number, name = min(found)
    return total, {"trial": number, "checkpoint": name, "value": -value}


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        swept_s, wall_s = run_verb("jobs.sweep", CONFIG, scratch / "mark", f"output_dir={scratch}")
        best = read_json(scratch / "sweep_text2sql" / "leaderboard.json")["best"]
        alone_s, exhaustive = one_by_one(scratch)
    figures = {
        "sweep_cpu_s": round(swept_s, 1),
        "sweep_wall_s": round(wall_s, 1),
        "one_by_one_cpu_s": round(alone_s, 1),
        "ratio": round(swept_s / alone_s, 3),
        "same_best": all(best[key] == exhaustive[key] for key in exhaustive),
        "best": exhaustive,
    }
    print(json.dumps({"bench": "sweep", **figures, "memory": memory_of_trials()}))


if __name__ == "__main__":
    main()
