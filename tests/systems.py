"""Every task on the rows that ship, from raw rows to a report: `make systems`.

    python -m tests.systems [--only law_qa doi] [--output-dir runs/systems]

Each config is run as a user runs it; the same command again continues or finds it finished. Ends
with a table and exit code 1 where a best checkpoint is not above its untuned base.
"""

import argparse
import subprocess
import sys
from pathlib import Path

from datasets_src.types import Score
from trainers.run.scores import best_score, find_score

ROOT = Path(__file__).resolve().parents[1]
# Name of the system: its config. quickstart is the text-to-SQL one.
CONFIGS = {
    "text2sql": "quickstart",
    "descriptions": "descriptions",
    "query_json": "query_json",
    "doi": "doi",
    "questions": "questions",
    "law_qa": "law_qa",
}
ROWS = ("base", "few_shot", "constant")


def run_system(name: str, output_dir: Path) -> Path:
    """Run a config to its end without an export; the run's directory."""
    config = ROOT / "jobs" / "configs" / f"{CONFIGS[name]}.yaml"
    command = [sys.executable, "-m", "jobs.finetune", str(config), f"run_name={name}"]
    done = subprocess.run([*command, f"output_dir={output_dir}", "export_best=false"], cwd=ROOT)
    if done.returncode:
        sys.exit(f"{name} ended with exit code {done.returncode}")
    return output_dir / name


def scores_of(run_dir: Path) -> dict[str, Score]:
    """The baselines and the best checkpoint of a run, which all must be there."""
    found = {name: find_score(run_dir, name) for name in ROWS} | {"best": best_score(run_dir)}
    missing = [name for name, score in found.items() if score is None]
    assert not missing, f"{run_dir} has no score of {', '.join(missing)}"
    return {name: score for name, score in found.items() if score is not None}


def line(name: str, scores: dict[str, Score]) -> str:
    """One row of the table: the metric that chooses, for each of the four."""
    best = scores["best"]
    values = "".join(f"{s.metrics[s.metric]:>10.3f}" for s in scores.values())
    low, high = best.intervals[best.metric]
    return f"{name:13} {best.metric:20} {best.n:>4}{values}  [{low:.3f}, {high:.3f}]"


def main() -> None:
    parser = argparse.ArgumentParser(description="Run every task on the rows that ship.")
    parser.add_argument("--only", nargs="+", choices=list(CONFIGS), default=list(CONFIGS))
    parser.add_argument("--output-dir", type=Path, default=ROOT / "runs" / "systems")
    options = parser.parse_args()
    output_dir = options.output_dir.resolve()
    found = {name: scores_of(run_system(name, output_dir)) for name in options.only}
    print(f"\n{'':13} {'metric':20} {'n':>4}" + "".join(f"{n:>10}" for n in (*ROWS, "best")))
    print(*(line(name, scores) for name, scores in found.items()), sep="\n")
    print(*(f"report    {output_dir / name / 'report.html'}" for name in found), sep="\n")
    behind = [
        name
        for name, scores in found.items()
        if scores["best"].metrics[scores["best"].metric]
        <= scores["base"].metrics[scores["base"].metric]
    ]
    if behind:
        sys.exit(f"not above the untuned base: {', '.join(behind)}")


if __name__ == "__main__":
    main()
