"""Numbers of steps in a config: shares of all steps, and the rules of piecewise_constant."""

import math


def parse_rules(step_rules: str) -> tuple[list[int], list[float]]:
    """Last steps and factors, of which there is one more, in the format of diffusers.

    Raises:
        ValueError: the text is no such rules.
    """
    *rules, last = step_rules.split(",")
    parts = [rule.split(":") for rule in rules]
    untils = [int(until) for _, until in parts]
    factors = [float(factor) for factor, _ in parts] + [float(last)]
    if [0, *untils] != sorted({0, *untils}) or not all(0 < f < math.inf for f in factors):
        raise ValueError(step_rules)
    return untils, factors


def stretched(step_rules: str, share: float) -> str:
    """The same rules for a run of `share` times as many steps."""
    *rules, last = step_rules.split(",")
    parts = [rule.split(":") for rule in rules]
    moved = [f"{factor}:{max(1, round(int(until) * share))}" for factor, until in parts]
    return ",".join([*moved, last])


def num_steps(steps: float, total_steps: int) -> int:
    """A number of steps; below 1, a share of all."""
    return math.ceil(steps * total_steps) if steps < 1 else int(steps)
