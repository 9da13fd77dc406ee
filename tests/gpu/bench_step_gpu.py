"""The training step compared with `trl.SFTTrainer` on a GPU, in turns: `make bench-gpu`.

    python -m tests.gpu.bench_step_gpu [--device cpu --shape small]    # last line: one JSON object

Rows, models and peers are those of tests/benchmarks/bench_step.py, in bfloat16. Wall seconds are
the minimum of three steps after two that warm up and compile; memory is the peak above the base.
"""

import argparse
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch

from tests.benchmarks.step.models import SHAPES, make_base, pack_step
from tests.benchmarks.step.rows import Rows, Step, draw_steps, padded_size, relabel
from tests.benchmarks.step.sides import Side, open_side

SIDES = ("ours", "trl_default", "trl_best")
WARM_UP, ROUNDS = 2, 3


def measure(side: Side, step: Step, device: str) -> tuple[float, float]:
    """Wall seconds of one step, and its peak GPU memory in MiB above what was allocated before."""
    if device == "cpu":
        return side.step(step).wall_s, 0.0
    before = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    seconds = side.step(step).wall_s
    return seconds, (torch.cuda.max_memory_allocated() - before) / 2**20


def run_case(step: Step, base_dir: Path, device: str) -> dict[str, Any]:
    """Time and memory of each side on the same step, and the peers' times over ours."""
    sides = {name: open_side(name, base_dir, torch.bfloat16, device) for name in SIDES}
    costs: dict[str, list[tuple[float, float]]] = {name: [] for name in SIDES}
    for turn in range(WARM_UP + ROUNDS):
        for name, side in sides.items():
            cost = measure(side, step, device)
            if turn >= WARM_UP:
                costs[name].append(cost)
    best = {name: min(seconds for seconds, _ in turns) for name, turns in costs.items()}
    return {
        "rows": len(step),
        "padded_tokens": padded_size(step),
        "packed_tokens": sum(len(batch.ids) for batch in pack_step(step)),
        "wall_s": {name: round(seconds, 4) for name, seconds in best.items()},
        "peak_mib": {n: round(max(mib for _, mib in turns)) for n, turns in costs.items()},
        "over_ours": {n: round(seconds / best["ours"], 2) for n, seconds in best.items()},
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description="The training step compared with trl.SFTTrainer on a GPU"
    )
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--shape", choices=list(SHAPES), default="2b")
    options = parser.parse_args()
    if options.device == "cuda" and not torch.cuda.is_available():
        print(
            "error: --device: cuda, but torch finds no CUDA device; use a machine with a GPU, "
            "or --device cpu",
            file=sys.stderr,
        )
        sys.exit(2)
    results: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as scratch:
        rows = Rows.load(Path(scratch))
        make_base(SHAPES[options.shape], Path(scratch))
        original = [[row] for group in rows.descriptions["original"] for row in group]
        for name, units, units_a_step in (
            ("text2sql", [[row] for row in rows.text2sql], 16),
            ("grouped", rows.descriptions["shared_first"], 1),
            ("shuffled", original, 9),
        ):
            drawn = draw_steps(units, units_a_step=units_a_step, num_steps=1)
            [step] = relabel(drawn, SHAPES[options.shape].vocab)
            results[name] = run_case(step, Path(scratch), options.device)
            print(name, results[name], flush=True)
    device = torch.cuda.get_device_name() if options.device == "cuda" else "cpu"
    print(json.dumps({"benchmark": "step_gpu", "device": device, "source": rows.source} | results))


if __name__ == "__main__":
    main()
