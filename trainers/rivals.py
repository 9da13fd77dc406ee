"""Whether the best checkpoint is better than what it stands beside, on the same rows.

compare_best(run_dir)["base"].told("step-000275", "base")
"step-000275 beats base by 0.434 [0.345, 0.522], p < 0.001 (136 rows in 68 groups)"
"""

from pathlib import Path

from datasets_src.paired import Comparison, compare_rows
from trainers.run_dir import read_jsonl
from trainers.scores import best_of, read_scores

BASELINES = ("base", "few_shot", "constant")


def compare_best(run_dir: Path) -> dict[str, Comparison]:
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
