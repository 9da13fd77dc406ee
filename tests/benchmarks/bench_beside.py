"""What scoring beside training costs training: seconds of a step with and without it.

    python -m tests.benchmarks.bench_beside      # last line: one JSON object

One worker on one core, and a spare core. On one side an actor answers the 136 shipped validation
rows for one checkpoint after the other (`eval.num_eval_workers`), on the other nobody uses that
core. Real `fit` runs, interleaved. Steps that are taken while the actor starts are left out.
"""

import json
import statistics
import tempfile
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
# The last save is the only one of the side that scores nothing beside; what it scores comes after.
SAVE_STEPS = {0: STEPS, 1: 20}


def seconds_a_step(config: Config, prepared: Path, *, num_eval_workers: int, name: str) -> float:
    """Median of the steps of a run after its warm-up."""
    parts = {
        "eval": config.eval.model_copy(update={"num_eval_workers": num_eval_workers}),
        "checkpoint": config.checkpoint.model_copy(
            update={"save_strategy": "steps", "save_steps": SAVE_STEPS[num_eval_workers]}
        ),
    }
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
        seconds: dict[int, list[float]] = {0: [], 1: []}
        for turn in range(ROUNDS):
            for num, seen in seconds.items():
                seen.append(
                    seconds_a_step(config, prepared, num_eval_workers=num, name=f"{turn}-{num}")
                )
                print(f"round {turn}: {num} actors beside, {seen[-1] * 1e3:.1f} ms a step")
    alone, beside = (statistics.median(seconds[num]) for num in (0, 1))
    figures = {"alone_s": alone, "beside_s": beside, "slower": round(beside / alone - 1, 4)}
    print(json.dumps({"bench": "beside", **figures}))


if __name__ == "__main__":
    main()
