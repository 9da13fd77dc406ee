"""What scoring beside training costs training: seconds of a step with and without it.

    python -m tests.benchmarks.bench_beside      # last line: one JSON object

One worker on one core, and a spare core. On one side an actor answers the 136 shipped validation
rows for one checkpoint after the other (`eval.num_eval_workers`), on the other nobody uses that
core, on a third a process that multiplies small matrices in its cache does: what a step is slower
by there is the machine's own (cores that share a clock, or are half a core). Real `fit` runs,
interleaved. Steps that are taken while the actor starts are left out.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

from datasets_src.pipeline import prepare
from jobs.ray_session import start_ray
from trainers.base import resolve_model
from trainers.config import Config
from trainers.config_load import load_config
from trainers.driver import fit
from trainers.run_dir import read_jsonl

ROOT = Path(__file__).resolve().parents[2]
ROUNDS = 3
STEPS = 300
WARM_UP_STEPS = 60
ALONE, BUSY_CORE, BESIDE = "alone", "busy_core", "beside"
# Only the side with an actor saves on the way; what the others score comes after their last step.
SAVE_STEPS = {ALONE: STEPS, BUSY_CORE: STEPS, BESIDE: 20}
# It has the lowest priority, as the actor beside training: a core that both want is training's.
NICENESS = 19
BUSY = f"""
import os, torch
os.nice({NICENESS})
torch.set_num_threads(1)
a = torch.randn(128, 128)
while os.getppid() == {{parent}}:
    a = torch.nn.functional.normalize(a @ a)
"""


@contextmanager
def busy_core() -> Iterator[None]:
    """A process that computes on one core and touches no memory to speak of."""
    process = subprocess.Popen([sys.executable, "-c", BUSY.format(parent=os.getpid())])
    try:
        yield
    finally:
        process.kill()
        process.wait()


def seconds_a_step(config: Config, prepared: Path, *, side: str, name: str) -> float:
    """Median of the steps of a run after its warm-up."""
    parts = {
        "eval": config.eval.model_copy(update={"num_eval_workers": int(side == BESIDE)}),
        "checkpoint": config.checkpoint.model_copy(
            update={"save_strategy": "steps", "save_steps": SAVE_STEPS[side]}
        ),
    }
    with busy_core() if side == BUSY_CORE else nullcontext():
        fit(config.model_copy(update=parts | {"run_name": name}), prepared_dir=prepared)
    rows = list(read_jsonl(Path(config.output_dir) / name / "metrics.jsonl"))[WARM_UP_STEPS:]
    return statistics.median(row["step_time_s"] for row in rows)


def main() -> None:
    with tempfile.TemporaryDirectory() as scratch:
        config, _ = load_config(
            ROOT / "jobs/configs/quickstart.yaml",
            [f"output_dir={scratch}", f"max_steps={STEPS}", "num_workers=1", "cpus_per_worker=1"],
        )
        start_ray()
        prepared = prepare(
            config.data,
            model_dir=resolve_model(config.model.model_name_or_path),
            output_dir=Path(scratch),
        ).directory
        seconds: dict[str, list[float]] = {side: [] for side in SAVE_STEPS}
        for turn in range(ROUNDS):
            for side, seen in seconds.items():
                seen.append(seconds_a_step(config, prepared, side=side, name=f"{turn}-{side}"))
                print(f"round {turn}: {side}, {seen[-1] * 1e3:.1f} ms a step")
    medians = {side: statistics.median(seen) for side, seen in seconds.items()}
    figures = {
        **{f"{side}_s": round(median, 5) for side, median in medians.items()},
        "slower": round(medians[BESIDE] / medians[ALONE] - 1, 4),
        "slower_than_busy_core": round(medians[BESIDE] / medians[BUSY_CORE] - 1, 4),
        "machines_own": round(medians[BUSY_CORE] / medians[ALONE] - 1, 4),
    }
    print(json.dumps({"bench": "beside", **figures}))


if __name__ == "__main__":
    main()
