"""How long a killed run takes to resume: from the command to its first new step.

    python -m tests.benchmarks.bench_resume      # last line: one JSON object

The driver of a run of the pocket model on two workers is killed (-9) in the middle of an epoch, and
the same command is run again, each time with its own local Ray.
"""

import json
import statistics
import tempfile
import time
from pathlib import Path

from tests.faults.harness import Driver, Runs
from trainers.storage.json_files import read_jsonl

ROUNDS = 3


def seconds_to_resume(runs: Runs, name: str) -> float:
    """Kill a run that saves every 5 steps after step 8, and wait for its next step."""
    driver = runs.start(name, failpoints="before_step:step=9:rank=0:sleep=60")
    driver.wait_for_step(8)
    driver.kill()
    started = time.monotonic()
    again = runs.start(name)
    wait_for_another_attempt(again)
    took = time.monotonic() - started
    again.wait(0)
    return took


def wait_for_another_attempt(driver: Driver) -> None:
    """Wait until a second attempt has taken a step."""
    attempts: set[str] = set()
    while len(attempts) < 2:
        assert driver.process.poll() is None, driver.output()
        time.sleep(0.02)
        attempts = {row["attempt"] for row in read_jsonl(driver.run_dir / "metrics.jsonl")}


def main() -> None:
    with tempfile.TemporaryDirectory() as scratch:
        runs = Runs.create(Path(scratch))
        runs.finish("warm", "max_steps=2")  # warm-up: prepares the rows
        seconds = [seconds_to_resume(runs, f"round{number}") for number in range(ROUNDS)]
    print(*(f"{value:.1f} s" for value in seconds), sep=", ")
    figures = {"bench": "resume", "seconds": round(statistics.median(seconds), 2)}
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
