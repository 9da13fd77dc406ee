"""Names of the lines of scores.jsonl that stand beside those of the checkpoints.

first_names(config) == ["base", "few_shot", "constant"]
"""

from datasets_src.task import EVAL_LOSS
from trainers.config import Config

BASE, FEW_SHOT, CONSTANT = "base", "few_shot", "constant"


def first_names(config: Config) -> list[str]:
    """What stands beside the checkpoints: names of scores, in their order.

    A constant answer has no loss.
    """
    if not config.eval.eval_on_start:
        return []
    models = [BASE, *([FEW_SHOT] if config.eval.num_few_shot else [])]
    return models if config.eval.metric_for_best_model == EVAL_LOSS else [*models, CONSTANT]
