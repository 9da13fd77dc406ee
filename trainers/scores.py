"""What scores.jsonl says: the score of a name, and which checkpoint is the best.

best_step(run_dir) == 140
"""

from pathlib import Path

from datasets_src.types import Score
from trainers.run_dir import read_jsonl


def read_scores(run_dir: Path) -> list[Score]:
    """All scores in the order they were made; the last of a name counts."""
    by_name = {row["name"]: row for row in read_jsonl(run_dir / "scores.jsonl")}
    return [
        Score(**{**row, "intervals": {key: tuple(v) for key, v in row["intervals"].items()}})
        for row in by_name.values()
    ]


def find_score(run_dir: Path, name: str) -> Score | None:
    """The score of "base", "constant" or "step-000140", if it was made."""
    return next((score for score in read_scores(run_dir) if score.name == name), None)


def best_score(run_dir: Path) -> Score | None:
    """The checkpoint with the highest chosen metric; of equals the earliest. None if unscored."""
    scored = [score for score in read_scores(run_dir) if score.step is not None]
    if not scored:
        return None
    return max(scored, key=lambda s: (s.metrics[s.metric], -(s.step or 0)))


def best_step(run_dir: Path) -> int | None:
    """The step of the best checkpoint."""
    best = best_score(run_dir)
    return None if best is None else best.step
