"""Two workers on two cores against one worker on one core: examples per second of training.

    python -m tests.benchmarks.bench_workers      # last line: one JSON object

Real `fit` runs through Ray Train on the shipped rows, the two sides interleaved.
"""

import json
import statistics
import tempfile
from pathlib import Path

from datasets_src.pipeline import prepare
from jobs.ray_session import start_ray
from trainers.config import Config
from trainers.config_load import load_config
from trainers.driver import fit
from trainers.model import resolve_model
from trainers.run_dir import read_jsonl

ROUNDS = 3
STEPS = 40
WARM_UP_STEPS = 5
QUICKSTART = Path(__file__).resolve().parents[2] / "jobs/configs/quickstart.yaml"


def examples_per_s(config: Config, prepared: Path, *, num_workers: int, name: str) -> float:
    """Train STEPS steps and read the speed after the warm-up off metrics.jsonl."""
    scaling = config.scaling.model_copy(update={"num_workers": num_workers, "cpus_per_worker": 1})
    run_dir = Path(config.output_dir) / name
    fit(
        config.model_copy(update={"scaling": scaling}),
        run_dir=run_dir,
        prepared_dir=prepared,
    )
    rows = list(read_jsonl(run_dir / "metrics.jsonl"))[WARM_UP_STEPS:]
    return float(sum(r["num_examples"] for r in rows) / sum(r["step_time_s"] for r in rows))


def main() -> None:
    with tempfile.TemporaryDirectory() as scratch:
        config, _ = load_config(
            QUICKSTART,
            [
                f"output_dir={scratch}",
                f"max_steps={STEPS}",
                "train_batch_size=32",
                "eval_on_start=false",
                "max_new_tokens=1",
                "eval_batch_size=64",
            ],
        )
        start_ray()
        prepared = prepare(
            config.data,
            model_dir=resolve_model(config.model.model_name_or_path),
            output_dir=Path(scratch),
        ).directory
        speeds: dict[int, list[float]] = {1: [], 2: []}
        for turn in range(ROUNDS):
            for num_workers, seen in speeds.items():
                seen.append(
                    examples_per_s(
                        config, prepared, num_workers=num_workers, name=f"{turn}-{num_workers}"
                    )
                )
                print(f"round {turn}: {num_workers} worker(s) {seen[-1]:.1f} examples/s")
    one, two = (statistics.median(speeds[n]) for n in (1, 2))
    print(json.dumps({"bench": "workers", "one": one, "two": two, "ratio": round(two / one, 3)}))


if __name__ == "__main__":
    main()
