"""What a run is doing now: rank 0 writes progress.json, the driver draws it.

{"phase": "train", "step": 40, "total_steps": 200, "loss": 0.31}
"""

import json
import sys
import threading
import time
from pathlib import Path
from typing import Any

import torch
from torch import nn
from tqdm import tqdm

from datasets_src.types import Score
from trainers.run_dir import read_json, read_jsonl, write_text

FILE = "progress.json"
WRITE_EVERY_S = 0.5
DRAW_EVERY_S = 0.5
LOG_EVERY_S = 15


class Progress:
    """Rank 0's side: notes the phase, at most a few times a second."""

    def __init__(self, run_dir: Path, *, active: bool) -> None:
        self._path, self._active = run_dir / FILE, active
        self._state: dict[str, Any] = {"phase": "load"}
        self._written = 0.0
        self._write(force=True)

    def built(self, model: nn.Module, dtype: torch.dtype) -> None:
        """The model stands; its size is known, and the type it computes in."""
        sizes = [(p.numel(), p.requires_grad) for p in model.parameters()]
        self._state["dtype"] = str(dtype).removeprefix("torch.")
        self._state["num_parameters"] = sum(n for n, _ in sizes)
        self._state["num_trainable_parameters"] = sum(n for n, trained in sizes if trained)
        self._write(force=True)

    def trained(self, step: int, total_steps: int, loss: float) -> None:
        """Another step is done."""
        self._state |= {"phase": "train", "step": step, "total_steps": total_steps, "loss": loss}
        self._write(force=step == total_steps)

    def answering(self, name: str, num_rows: int) -> None:
        """Replies are generated for a checkpoint."""
        self._state |= {"phase": f"answer {name}", "done": 0, "rows": num_rows}
        self._write(force=True)

    def answered(self, num_rows: int) -> None:
        """So many more replies of this worker are there."""
        self._state["done"] += num_rows
        self._write(force=False)

    def scored(self, score: Score) -> None:
        """A score was recorded; the driver reads it from scores.jsonl."""
        self._state |= {"phase": f"scored {score.name}"}
        self._write(force=True)

    def _write(self, *, force: bool) -> None:
        now = time.monotonic()
        if self._active and (force or now - self._written > WRITE_EVERY_S):
            write_text(self._path, json.dumps(self._state), durable=False)
            self._written = now


def run_facts(run_dir: Path) -> dict[str, Any]:
    """Sizes, seconds and memory of a run, summed over its attempts, for run.json."""
    state = read_json(run_dir / FILE)
    steps = list(read_jsonl(run_dir / "metrics.jsonl"))
    scores = list(read_jsonl(run_dir / "scores.jsonl"))
    saves = list(read_jsonl(run_dir / "checkpoints.jsonl"))
    names = ("dtype", "num_parameters", "num_trainable_parameters", "total_steps")
    return {name: state.get(name) for name in names} | {
        "train_s": round(sum(row["step_time_s"] for row in steps), 2),
        "evaluate_s": round(sum(row["seconds"] for row in scores), 2),
        "peak_memory_gib": max((row["peak_memory_gib"] for row in saves), default=None),
    }


class Watcher:
    """The driver's side: a bar on a terminal, else a line every few seconds and for each score."""

    def __init__(self, run_dir: Path) -> None:
        self._run_dir = run_dir
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> "Watcher":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _watch(self) -> None:
        told = {row["name"] for row in read_jsonl(self._run_dir / "scores.jsonl")}
        logged, told_model = time.monotonic(), False
        with tqdm(disable=not sys.stderr.isatty(), unit="step", dynamic_ncols=True) as bar:
            while not self._stop.wait(DRAW_EVERY_S):
                state = read_json(self._run_dir / FILE)
                self._draw(bar, state)
                if "dtype" in state and not told_model:
                    told_model = True
                    tqdm.write(_model_line(state))
                if bar.disable and time.monotonic() - logged > LOG_EVERY_S:
                    print(_line(state), flush=True)
                    logged = time.monotonic()
                self._tell_scores(told)
        self._tell_scores(told)

    def _draw(self, bar: "tqdm[Any]", state: dict[str, Any]) -> None:
        bar.total = state.get("total_steps")
        bar.n = state.get("step", 0)
        bar.set_description_str(state.get("phase", "start"), refresh=False)
        if "loss" in state:
            bar.set_postfix_str(f"loss {state['loss']:.3f}", refresh=False)
        bar.refresh()

    def _tell_scores(self, told: set[str]) -> None:
        for row in read_jsonl(self._run_dir / "scores.jsonl"):
            if row["name"] not in told:
                told.add(row["name"])
                value, (low, high) = row["metrics"][row["metric"]], row["intervals"][row["metric"]]
                tqdm.write(
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
