"""What the driver prints of its workers: a progress bar on a terminal, else a line every 15 s.

with Display(run_dir) as display: display.show({"phase": "train", "step": 40, "total_steps": 200})
"""

import sys
import time
from pathlib import Path
from typing import Any

from tqdm import tqdm

from trainers.storage.json_files import read_jsonl

LOG_EVERY_S = 15


class Display:
    """Draws rank 0's progress; prints a line for each score, and for the model once it is built."""

    def __init__(self, run_dir: Path) -> None:
        self._scores = run_dir / "scores.jsonl"
        self._printed = {row["name"] for row in read_jsonl(self._scores)}
        self._logged, self._model_printed = time.monotonic(), False
        self._bar = tqdm(disable=not sys.stderr.isatty(), unit="step", dynamic_ncols=True)

    def __enter__(self) -> "Display":
        return self

    def __exit__(self, *_: object) -> None:
        self._print_scores()
        self._bar.close()

    def show(self, progress: dict[str, Any]) -> None:
        """Draw `progress`, and print what is new."""
        self._draw(progress)
        if "dtype" in progress and not self._model_printed:
            self._model_printed = True
            self.log(_model_line(progress))
        if self._bar.disable and time.monotonic() - self._logged > LOG_EVERY_S:
            print(_progress_line(progress), flush=True)
            self._logged = time.monotonic()
        self._print_scores()

    def log(self, line: str) -> None:
        """Print a line above the bar."""
        tqdm.write(line)
        sys.stdout.flush()

    def _draw(self, progress: dict[str, Any]) -> None:
        self._bar.total = progress.get("total_steps")
        self._bar.n = progress.get("step", 0)
        self._bar.set_description_str(progress.get("phase", "start"), refresh=False)
        if "loss" in progress:
            self._bar.set_postfix_str(f"loss {progress['loss']:.3f}", refresh=False)
        self._bar.refresh()

    def _print_scores(self) -> None:
        for row in read_jsonl(self._scores):
            if row["name"] not in self._printed:
                self._printed.add(row["name"])
                value, (low, high) = row["metrics"][row["metric"]], row["intervals"][row["metric"]]
                self.log(
                    f"scored {row['name']:<12} {row['metric']} {value:.3f} "
                    f"[{low:.3f}, {high:.3f}] of {row['n']} rows in {row['seconds']:.1f} s"
                )


def _model_line(progress: dict[str, Any]) -> str:
    trained, total = progress["num_trainable_parameters"], progress["num_parameters"]
    return (
        f"model     compute dtype {progress['dtype']}; trainable params {trained:,} / {total:,} "
        f"({trained / total:.1%})"
    )


def _progress_line(progress: dict[str, Any]) -> str:
    parts = [progress.get("phase", "start")]
    if "step" in progress:
        parts.append(
            f"step {progress['step']}/{progress['total_steps']} loss {progress['loss']:.4f}"
        )
    if "rows" in progress:
        parts.append(f"replies {progress['done']}/{progress['rows']}")
    return "  ".join(parts)
