"""Two workers on two cores compared with one worker on one core: examples per second.

    python -m tests.benchmarks.bench_workers      # last line: one JSON object

Real `fit` runs through Ray Train, in turns, on rows of the length of species descriptions that
share nothing. Each worker computes a shared prefix again, so rows with a common prefix gain less
from a second worker than these, and more from packing than from any worker.
"""

import json
import statistics
import tempfile
from pathlib import Path

from datasets_src.pipeline import prepare
from jobs.common.ray_session import start_ray
from tests.benchmarks.bench_prepare import invented_rows
from trainers.config.schema import Config
from trainers.driver import fit
from trainers.models.resolve import resolve_model
from trainers.storage.json_files import read_jsonl

ROUNDS = 3
STEPS = 8
WARM_UP_STEPS = 1
ROWS_PER_STEP = 16


def examples_per_s(config: Config, prepared: Path, *, num_workers: int, name: str) -> float:
    """Train STEPS steps; the throughput after the warm-up, from metrics.jsonl."""
    scaling = config.scaling.model_copy(update={"num_workers": num_workers, "cpus_per_worker": 1})
    fit(config.model_copy(update={"scaling": scaling, "run_name": name}), prepared_dir=prepared)
    rows = list(read_jsonl(Path(config.output_dir) / name / "metrics.jsonl"))[WARM_UP_STEPS:]
    return float(sum(r["num_examples"] for r in rows) / sum(r["step_time_s"] for r in rows))


def config_for(scratch: Path) -> Config:
    """A run of STEPS steps with almost no evaluation."""
    rows = invented_rows()[: STEPS * ROWS_PER_STEP + 2]
    for number, row in enumerate(rows):
        row["split"] = "validation" if number < 2 else "train"
    file = scratch / "rows.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return Config.model_validate(
        {
            "run_name": "workers",
            "output_dir": str(scratch),
            "model": {"dtype": "float32"},
            "data": {
                "task": "tests.benchmarks.step.description_rows",
                "train_file": str(file),
                "max_length": 4096,
            },
            "train": {"train_batch_size": ROWS_PER_STEP, "num_train_epochs": 1},
            "eval": {"eval_on_start": False, "max_new_tokens": 1},
        }
    )


def main() -> None:
    with tempfile.TemporaryDirectory() as scratch:
        config = config_for(Path(scratch))
        start_ray()
        prepared = prepare(
            config.data,
            model_dir=resolve_model(config.model.model_name_or_path),
            output_dir=Path(scratch),
        ).directory
        speeds: dict[int, list[float]] = {1: [], 2: []}
        for turn in range(ROUNDS):
            for num_workers, measured in speeds.items():
                measured.append(
                    examples_per_s(
                        config, prepared, num_workers=num_workers, name=f"{turn}-{num_workers}"
                    )
                )
                print(f"round {turn}: {num_workers} worker(s) {measured[-1]:.1f} examples/s")
    one, two = (statistics.median(speeds[n]) for n in (1, 2))
    print(json.dumps({"bench": "workers", "one": one, "two": two, "ratio": round(two / one, 3)}))


if __name__ == "__main__":
    main()
