"""Disturbed sweeps compared with an undisturbed one, by their files.

sweeps = Sweeps.create(folder)
sweeps.finish("undisturbed"); sweeps.start("killed").kill(); sweeps.finish("killed")
same_board(sweeps, "killed")
"""

import json
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import yaml

from tests.faults.harness import LIMIT_S, ROOT, Driver, Runs, ledger
from trainers.models.pocket.model import pocket_dir
from trainers.storage.json_files import read_json, read_jsonl

NUM_ROWS = 64
STEPS_A_LINE = 32
COSTS = ("cpu_s", "energy_wh_estimated")


@dataclass(frozen=True)
class Sweeps(Runs):
    """Sweeps of one config in one output directory."""

    verb: ClassVar[str] = "jobs.sweep"

    @classmethod
    def create(cls, folder: Path, **env: str) -> "Sweeps":
        """Four learning rates, two numbers of epochs, on a few of the rows we ship."""
        folder.mkdir(parents=True, exist_ok=True)
        lines = (ROOT / "datasets_src/shipped/senderos/text2sql.jsonl").read_text().splitlines()
        train = [line for line in lines if json.loads(line)["split"] == "train"][:NUM_ROWS]
        held_out = [line for line in lines if json.loads(line)["split"] != "train"][:24]
        (folder / "rows.jsonl").write_text("\n".join(train + held_out) + "\n")
        raw = yaml.safe_load((ROOT / "jobs/configs/sweep_text2sql.yaml").read_text())
        raw |= {"run_name": "undisturbed", "output_dir": str(folder)}
        raw["model"]["model_name_or_path"] = str(pocket_dir())
        raw["data"]["train_file"] = str(folder / "rows.jsonl")
        for key in ("database", "schema_file"):
            raw["data"]["task_options"][key] = str(ROOT / raw["data"]["task_options"][key])
        raw["train"] |= {"train_batch_size": 8}
        raw["eval"] = {"eval_batch_size": 24, "max_new_tokens": 40, "num_few_shot": 0}
        (folder / "config.yaml").write_text(yaml.safe_dump(raw))
        return cls(folder, env)


def wait_for_legs(driver: Driver, num: int) -> None:
    """Until `num` segments have ended."""
    deadline = time.monotonic() + LIMIT_S
    while len(legs(driver.run_dir, "ended")) < num:
        assert driver.process.poll() is None, driver.output()
        assert time.monotonic() < deadline, driver.output()
        time.sleep(0.05)


def legs(directory: Path, event: str) -> list[tuple[str, int]]:
    """(run, step) of the ledger's rows of one kind."""
    rows = read_jsonl(directory / "ledger.jsonl")
    return [(row["run"], row["until"]) for row in rows if row["event"] == event]


def board(directory: Path) -> dict[str, Any]:
    """The leaderboard without what it cost."""
    reported = read_json(directory / "leaderboard.json")
    trials = [{k: v for k, v in row.items() if k not in COSTS} for row in reported["trials"]]
    kept = {key: reported[key] for key in ("metric", "mode", "baselines", "tests")}
    return kept | {"trials": trials}


def same_board(sweeps: Sweeps, name: str, *, kills: int) -> int:
    """Check a sweep against the undisturbed one; steps that were done more than once.

    The same leaderboard and decisions, no ended segment run again, at most one save's steps
    repeated by each of the trials at work when it was killed.
    """
    ours, plain = sweeps.run_dir(name), sweeps.run_dir("undisturbed")
    assert board(ours) == board(plain)
    assert judged(ours) == judged(plain)
    ended = legs(ours, "ended")
    assert len(ended) == len(set(ended)) == len(set(legs(plain, "ended")))
    done: set[tuple[str, int]] = set()
    for row in read_jsonl(ours / "ledger.jsonl"):
        if row["event"] == "began":
            assert (row["run"], row["until"]) not in done, "a leg that had ended began again"
        elif row["event"] == "ended":
            done.add((row["run"], row["until"]))
    redone = sum(
        count - 1
        for run in (ours / "trials").iterdir()
        for count in Counter(row["step"] for row in ledger(run)).values()
    )
    assert redone <= kills * 2 * STEPS_A_LINE // 4, f"{redone} steps redone"
    return redone


def judged(directory: Path) -> dict[tuple[int, int], bool]:
    """Every decision."""
    rows = read_jsonl(directory / "ledger.jsonl")
    return {(r["line"], r["rung"]): r["goes_on"] for r in rows if r["event"] == "judged"}
