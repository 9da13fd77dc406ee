"""Disturbed runs, compared with an undisturbed one by hashes and ledgers.

runs = Runs(folder)                      # one prepared data set, many run names
runs.finish("worker", failpoints="before_step:step=8:rank=1:SIGKILL")
verify_recovery(runs, "worker").redone   # steps done more than once; raises if recovery failed
"""

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import psutil
import yaml

from trainers.models.pocket.model import pocket_dir
from trainers.storage.checkpoints import damage, list_checkpoints
from trainers.storage.json_files import read_json, read_jsonl

ROOT = Path(__file__).resolve().parents[2]
NUM_ROWS = 65
STEPS = 27
SAVE_STEPS = 5
LIMIT_S = 300
TRAINED = ("adapter_model.safetensors", "optimizer.safetensors")


@dataclass(frozen=True)
class Runs:
    """Runs of one config in one output directory; `env` extends the driver's environment."""

    output_dir: Path
    env: Mapping[str, str]
    verb: ClassVar[str] = "jobs.finetune"

    @classmethod
    def create(cls, folder: Path, **env: str) -> "Runs":
        """An output directory with the config and the rows of the runs."""
        folder.mkdir(parents=True, exist_ok=True)
        lines = (ROOT / "datasets_src/shipped/senderos/text2sql.jsonl").read_text().splitlines()
        train = [line for line in lines if json.loads(line)["split"] == "train"][:NUM_ROWS]
        held_out = [line for line in lines if json.loads(line)["split"] != "train"][:4]
        (folder / "rows.jsonl").write_text("\n".join(train + held_out) + "\n")
        raw = yaml.safe_load((ROOT / "jobs/configs/quickstart.yaml").read_text())
        raw |= {"run_name": "undisturbed", "output_dir": str(folder)}
        raw["model"] = {"model_name_or_path": str(pocket_dir())}
        raw["data"]["train_file"] = str(folder / "rows.jsonl")
        for key in ("database", "schema_file"):
            raw["data"]["task_options"][key] = str(ROOT / raw["data"]["task_options"][key])
        raw["train"] |= {"num_train_epochs": 3, "train_batch_size": 8, "max_steps": -1}
        raw["eval"] = {"eval_batch_size": 8, "max_new_tokens": 4, "eval_on_start": False}
        raw["checkpoint"] = {"save_strategy": "steps", "save_steps": SAVE_STEPS}
        raw["scaling"] = {"num_workers": 2, "cpus_per_worker": 1, "max_failures": 3}
        raw["export"] = {"export_best": False}
        (folder / "config.yaml").write_text(yaml.safe_dump(raw))
        return cls(folder, env)

    def run_dir(self, name: str) -> Path:
        """The directory of a run."""
        return self.output_dir / name

    def start(self, name: str, *overrides: str, failpoints: str = "") -> "Driver":
        """Start the driver of a run."""
        fired = self.output_dir / f"{name}.failpoints"
        fired.mkdir(exist_ok=True)
        env = {k: v for k, v in os.environ.items() if not k.startswith("RAY_")} | {
            "PYTHONPATH": str(ROOT),
            "OMP_WAIT_POLICY": "PASSIVE",
            # Ray starts workers at nice 15: next to busy processes they would starve.
            "RAY_worker_niceness": "0",
            "GALLIPATO_FAILPOINTS": failpoints,
            "GALLIPATO_FAILPOINTS_DIR": str(fired),
            **self.env,
        }
        config = str(self.output_dir / "config.yaml")
        command = [sys.executable, "-m", self.verb, config, f"run_name={name}", *overrides]
        log = self.output_dir / f"{name}.log"
        with log.open("ab") as file:
            process = subprocess.Popen(
                command, cwd=ROOT, env=env, stdout=file, stderr=file, start_new_session=True
            )
        return Driver(process, self.run_dir(name), log, fired)

    def finish(self, name: str, *overrides: str, failpoints: str = "", code: int = 0) -> "Driver":
        """Run the driver to its end and check its exit code."""
        driver = self.start(name, *overrides, failpoints=failpoints)
        driver.wait(code)
        driver.wait_until_nothing_is_left()
        return driver


@dataclass(frozen=True)
class Driver:
    """A driver process."""

    process: subprocess.Popen[bytes]
    run_dir: Path
    log: Path
    mark: Path

    def wait(self, code: int, *, limit_s: float = LIMIT_S) -> None:
        """Wait for the end."""
        try:
            got = self.process.wait(limit_s)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"no end in {limit_s} s\n{self.output()}") from None
        assert got == code, f"exit code {got}, not {code}\n{self.output()}"

    def wait_for_step(self, step: int) -> None:
        """Wait until `step` is in the metrics."""
        deadline = time.monotonic() + LIMIT_S
        while (
            max((r["step"] for r in read_jsonl(self.run_dir / "metrics.jsonl")), default=0) < step
        ):
            assert self.process.poll() is None, self.output()
            assert time.monotonic() < deadline, self.output()
            time.sleep(0.02)

    def signal(self, signum: int) -> None:
        """Send a signal to the driver alone."""
        os.kill(self.process.pid, signum)

    def kill(self) -> None:
        """kill -9, and wait until it is gone."""
        self.signal(signal.SIGKILL)
        self.process.wait()

    def processes(self) -> list[psutil.Process]:
        """The driver and all its descendants, reparented ones included."""
        return marked(self.mark)

    def workers(self) -> list[psutil.Process]:
        """The processes that train."""
        return [process for process in self.processes() if is_worker(process)]

    def wait_until_nothing_is_left(self, *, limit_s: float = 60) -> None:
        """Wait until every process it started is gone."""
        wait_until_gone(self.processes, limit_s=limit_s)

    def output(self) -> str:
        """The end of its output."""
        return self.log.read_text(errors="replace")[-30000:]


@dataclass(frozen=True)
class Cost:
    """The cost of a fault: repeated steps, attempts that trained."""

    redone: int
    attempts: int


def marked(mark: Path) -> list[psutil.Process]:
    """The processes of one driver, which share an environment variable."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get("GALLIPATO_FAILPOINTS_DIR") == str(mark):
                found.append(process)
        except (psutil.NoSuchProcess, psutil.ZombieProcess, psutil.AccessDenied):
            continue  # it has ended, or is ending
    return found


def wait_until_gone(find: Callable[[], list[psutil.Process]], *, limit_s: float) -> None:
    """Wait until `find` returns none."""
    deadline = time.monotonic() + limit_s
    while left := find():
        assert time.monotonic() < deadline, f"left behind: {[title(p)[:80] for p in left]}"
        time.sleep(0.2)


def is_worker(process: psutil.Process) -> bool:
    """Whether a process is a worker of Ray Train."""
    return named(process, "RayTrainWorker")


def named(process: psutil.Process, part: str) -> bool:
    """Whether the process title, set by Ray, contains `part`."""
    return part in title(process)


def title(process: psutil.Process) -> str:
    """Its command line; "" if it has ended."""
    try:
        return " ".join(process.cmdline())
    except (psutil.NoSuchProcess, psutil.ZombieProcess):
        return ""


def verify_recovery(
    runs: Runs,
    name: str,
    *,
    kills: int = 1,
    same_workers: bool = True,
    reference: str = "undisturbed",
) -> Cost:
    """Compare a finished run with `reference`, an undisturbed one.

    The same bytes (same number of workers) or the final loss within 1e-3, each example exactly
    once per epoch, one row per step, the same scores, at most one interval repeated per kill.
    """
    run, plain = runs.run_dir(name), runs.run_dir(reference)
    assert read_json(run / "run.json")["status"] == "finished"
    if same_workers:
        assert final_hashes(run) == final_hashes(plain), "differs from the undisturbed run"
        assert losses(run) == losses(plain)
        assert scores(run) == scores(plain)
    else:
        ours, theirs = (float.fromhex(list(losses(d).values())[-1]) for d in (run, plain))
        assert abs(ours - theirs) < 1e-3, (ours, theirs)
    steps = [row["step"] for row in read_jsonl(run / "metrics.jsonl")]
    assert steps == list(range(1, STEPS + 1)), "not one row per step"
    check_examples(run, plain)
    done = Counter(row["step"] for row in ledger(run) if row["rank"] == 0)
    redone = sum(done.values()) - STEPS
    assert redone <= kills * SAVE_STEPS, f"{redone} steps redone"
    return Cost(redone, len({row["attempt"] for row in ledger(run)}))


def check_examples(run: Path, plain: Path) -> None:
    """Every step trained on the same rows as in the reference, and each epoch on each row once."""
    ours, theirs = examples_by_step(run), examples_by_step(plain)
    assert {s: sorted(ids) for s, ids in ours.items()} == {
        s: sorted(ids) for s, ids in theirs.items()
    }
    per_epoch = STEPS // 3
    for first in range(1, STEPS + 1, per_epoch):
        ids = [i for s in range(first, first + per_epoch) for i in ours[s]]
        assert len(ids) == len(set(ids)) == NUM_ROWS


def examples_by_step(run: Path) -> dict[int, list[str]]:
    """Step -> ids that the attempt recorded in the metrics trained on, over its workers."""
    counts = {row["step"]: row["attempt"] for row in read_jsonl(run / "metrics.jsonl")}
    found: dict[int, list[str]] = {step: [] for step in counts}
    for row in ledger(run):
        if counts.get(row["step"]) == row["attempt"]:
            found[row["step"]] += row["ids"]
    return found


def ledger(run: Path) -> list[dict[str, Any]]:
    """The ledger rows of all workers of all attempts."""
    return [row for path in sorted((run / "ledger").glob("*.jsonl")) for row in read_jsonl(path)]


def losses(run: Path) -> dict[int, str]:
    """Loss of each step recorded in the metrics, as hex."""
    counts = {row["step"]: row["attempt"] for row in read_jsonl(run / "metrics.jsonl")}
    found = {r["step"]: r["loss"] for r in ledger(run) if counts.get(r["step"]) == r["attempt"]}
    return dict(sorted(found.items()))


def scores(run: Path) -> dict[str, Any]:
    """Metrics by name of checkpoint."""
    return {row["name"]: row["metrics"] for row in read_jsonl(run / "scores.jsonl")}


def final_hashes(run: Path) -> dict[str, str]:
    """sha256 of the trained files of the last checkpoint."""
    newest = list_checkpoints(run / "checkpoints")[0]
    assert newest.step == STEPS and damage(newest.path) is None
    return {n: hashlib.sha256((newest.path / n).read_bytes()).hexdigest() for n in TRAINED}
