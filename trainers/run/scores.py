"""What scores.jsonl says: the score of a name, and which checkpoint is the best.

best_step(run_dir) == 140
"""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from datasets_src.scoring.paired import Comparison, compare_rows
from datasets_src.task import EVAL_LOSS
from datasets_src.types import Score, Slice
from trainers.config.schema import Config
from trainers.storage.json_files import read_jsonl


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


BASELINES = ("base", "few_shot", "constant")


def compare_with_baselines(run_dir: Path) -> dict[str, Comparison]:
    """The best checkpoint against each baseline and the second-best checkpoint, by their names.

    Only those whose replies are in the run directory; none before a checkpoint is scored.
    """
    scores = {score.name: score for score in read_scores(run_dir)}
    best = best_of(scores.values())
    if best is None:
        return {}
    second = best_of(score for score in scores.values() if score is not best)
    rivals = [scores[name] for name in BASELINES if name in scores]
    mine = list(read_jsonl(run_dir / best.predictions))
    found = {
        rival.name: compare_rows(
            mine,
            read_jsonl(run_dir / rival.predictions),
            metric=best.metric,
            greater_is_better=best.greater_is_better,
        )
        for rival in [*rivals, *([second] if second else [])]
    }
    return {name: comparison for name, comparison in found.items() if comparison is not None}


BASE, FEW_SHOT, CONSTANT = "base", "few_shot", "constant"


def first_names(config: Config) -> list[str]:
    """What stands beside the checkpoints: names of scores, in their order.

    A constant answer has no loss.
    """
    if not config.eval.eval_on_start:
        return []
    models = [BASE, *([FEW_SHOT] if config.eval.num_few_shot else [])]
    return models if config.eval.metric_for_best_model == EVAL_LOSS else [*models, CONSTANT]
