"""What scores.jsonl says: the score of a name, and which checkpoint is the best.

best_step(run_dir) == 140
"""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from datasets_src.types import Score, Slice
from trainers.run_dir import read_jsonl


def read_scores(run_dir: Path) -> list[Score]:
    """All scores in the order they were made; the last of a name counts."""
    by_name = {row["name"]: row for row in read_jsonl(run_dir / "scores.jsonl")}
    return [_score(row) for row in by_name.values()]


def _score(row: Mapping[str, Any]) -> Score:
    """A line of scores.jsonl; an older one may lack what has a default."""
    intervals = {key: tuple(ends) for key, ends in row["intervals"].items()}
    slices = {
        key: Slice(**{**part, "interval": tuple(part["interval"])})
        for key, part in row.get("slices", {}).items()
    }
    return Score(**{**row, "intervals": intervals, "slices": slices})


def find_score(run_dir: Path, name: str) -> Score | None:
    """The score of "base", "constant" or "step-000140", if it was made."""
    return next((score for score in read_scores(run_dir) if score.name == name), None)


def best_score(run_dir: Path) -> Score | None:
    """The checkpoint with the best chosen metric; of equals the earliest. None if unscored."""
    return best_of(read_scores(run_dir))


def best_of(scores: Iterable[Score]) -> Score | None:
    """The best of the checkpoints among `scores`."""
    scored = [score for score in scores if score.step is not None]
    return max(scored, key=lambda s: (s.merit, -(s.step or 0)), default=None)


def best_step(run_dir: Path) -> int | None:
    """The step of the best checkpoint."""
    best = best_score(run_dir)
    return None if best is None else best.step
