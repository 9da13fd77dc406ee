"""Population-based training: a child resumes from its parent's checkpoint at another rate.

values = child_values(parent, 56, seed="42/2/0")
{"train.learning_rate": 1e-3, "train.lr_scheduler_type": "piecewise_constant",
 "train.step_rules": "1:56,0.8"}

A child is an ordinary config: `jobs.finetune` trains it from step 1 to the same bytes, first at its
ancestors' rates.
"""

import random

from trainers.config.schema import Config
from tune.config import LEARNING_RATE
from tune.space import Values

STEP_RULES = "train.step_rules"
FACTORS = (0.8, 1.2)  # arXiv 1711.09846, appendix B


def child_values(parent: Config, step: int, *, seed: str) -> Values:
    """The values of a child that branches off after `step`, at the rate times one of FACTORS."""
    train = parent.train
    rules = train.step_rules or "1"
    last_factor = float(rules.rsplit(",", 1)[-1])
    factor = last_factor * random.Random(seed).choice(FACTORS)
    if train.learning_rate * factor > 1:  # the config's upper limit
        factor = last_factor * min(FACTORS)
    return {
        LEARNING_RATE: train.learning_rate,
        "train.lr_scheduler_type": "piecewise_constant",
        STEP_RULES: f"{rules}:{step},{factor:.6g}",
    }
