"""What the driver shows of its workers: a bar on a terminal, else a line every few seconds.

with Display(run_dir) as watcher: watcher.show({"phase": "train", "step": 40, "total_steps": 200})
"""

import sys
import time
from pathlib import Path
from typing import Any

from tqdm import tqdm

from trainers.storage.json_files import read_jsonl

LOG_EVERY_S = 15


class Display:
    """Draws rank 0's state, and one line for each score and for the model when it is built."""

    def __init__(self, run_dir: Path) -> None:
        self._scores = run_dir / "scores.jsonl"
        self._told = {row["name"] for row in read_jsonl(self._scores)}
        self._logged, self._told_model = time.monotonic(), False
        self._bar = tqdm(disable=not sys.stderr.isatty(), unit="step", dynamic_ncols=True)

    def __enter__(self) -> "Display":
        return self

    def __exit__(self, *_: object) -> None:
        self._tell_scores()
        self._bar.close()

    def show(self, state: dict[str, Any]) -> None:
        """Draw `state`, and tell what is new."""
        self._draw(state)
        if "dtype" in state and not self._told_model:
            self._told_model = True
            self.say(_model_line(state))
        if self._bar.disable and time.monotonic() - self._logged > LOG_EVERY_S:
            print(_line(state), flush=True)
            self._logged = time.monotonic()
        self._tell_scores()

    def say(self, line: str) -> None:
        """A line above the bar."""
        tqdm.write(line)
        sys.stdout.flush()

    def _draw(self, state: dict[str, Any]) -> None:
        self._bar.total = state.get("total_steps")
        self._bar.n = state.get("step", 0)
        self._bar.set_description_str(state.get("phase", "start"), refresh=False)
        if "loss" in state:
            self._bar.set_postfix_str(f"loss {state['loss']:.3f}", refresh=False)
        self._bar.refresh()

    def _tell_scores(self) -> None:
        for row in read_jsonl(self._scores):
            if row["name"] not in self._told:
                self._told.add(row["name"])
                value, (low, high) = row["metrics"][row["metric"]], row["intervals"][row["metric"]]
                self.say(
                    f"scored {row['name']:<12} {row['metric']} {value:.3f} "
                    f"[{low:.3f}, {high:.3f}] of {row['n']} rows in {row['seconds']:.1f} s"
                )


def _model_line(state: dict[str, Any]) -> str:
    trained, total = state["num_trainable_parameters"], state["num_parameters"]
    return f"computes in {state['dtype']}, trains {trained:,} of {total:,} parameters"


def _line(state: dict[str, Any]) -> str:
    words = [state.get("phase", "start")]
    if "step" in state:
        words.append(f"step {state['step']}/{state['total_steps']} loss {state['loss']:.4f}")
    if "rows" in state:
        words.append(f"replies {state['done']}/{state['rows']}")
    return "  ".join(words)
