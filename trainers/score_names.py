"""Names of the lines of scores.jsonl that stand beside those of the checkpoints.

first_names(config) == ["base", "few_shot", "constant"]
"""

from trainers.config import Config

BASE, FEW_SHOT, CONSTANT = "base", "few_shot", "constant"


def first_names(config: Config) -> list[str]:
    """What stands beside the checkpoints: names of scores, in their order."""
    if not config.eval.eval_on_start:
        return []
    return [BASE, *([FEW_SHOT] if config.eval.num_few_shot else []), CONSTANT]
