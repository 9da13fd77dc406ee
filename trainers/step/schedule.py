"""The learning rate as a pure function of the step, so checkpoints hold no scheduler state.

learning_rate(2, peak=1e-4, total_steps=100, warmup_steps=10, kind="cosine") == 1e-5
"""

import math

from trainers.config.step_rules import num_steps, parse_rules


def learning_rate(
    step: int,
    *,
    peak: float,
    total_steps: int,
    warmup_steps: float,
    kind: str,
    decay_steps: float = 0.0,
    step_rules: str | None = None,
) -> float:
    """Learning rate of a step, with the conventions of transformers 5.

    The first step of a warm-up has rate 0, and a decay reaches 0 one step after the last.

    Args:
        step: 1..total_steps.
        peak: rate at the end of the linear warm-up.
        warmup_steps, decay_steps: steps, or below 1 a fraction of `total_steps`.
        kind: "constant", "linear", "cosine", "warmup_stable_decay" (constant until the last
            `decay_steps`, which decay linearly) or "piecewise_constant".
        step_rules: multipliers of `peak` for piecewise_constant, for example "1:50,0.5:80,0.1".
    """
    warmup = num_steps(warmup_steps, total_steps)
    if step_rules is not None:
        peak *= multiplier(step, step_rules)
    if step - 1 < warmup:
        return peak * (step - 1) / warmup
    if kind in ("constant", "piecewise_constant"):
        return peak
    if kind == "warmup_stable_decay":
        decay = num_steps(decay_steps, total_steps)
        return peak * min(1.0, (total_steps - step + 1) / max(decay, 1))
    done = (step - 1 - warmup) / max(total_steps - warmup, 1)
    return peak * (1 - done if kind == "linear" else 0.5 * (1 + math.cos(math.pi * done)))


def multiplier(step: int, step_rules: str) -> float:
    """Of the rate: "1:10,0.1:20,0.01" is 1 up to step 10, 0.1 up to step 20, then 0.01."""
    untils, factors = parse_rules(step_rules)
    place = next((i for i, until in enumerate(untils) if step <= until), -1)
    return factors[place]
