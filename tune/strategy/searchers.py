"""Which values are tried next, from the settings and the outcomes of the draws before alone.

next_draws(sweep, [])  ->  [{"train.learning_rate": 3.2e-4}, …]     [] where no more are asked for

`random` and `grid` draw all at once. `optuna` draws a few at a time and is told all their outcomes,
in their order, before it is asked again: asked again from the first one on after a restart, it
draws the same.
"""

import importlib.util
from collections.abc import Sequence
from itertools import islice
from typing import Any

from datasets_src.errors import UserError
from tune.config import Sweep
from tune.space import Dimension, Range, Values, merged

ASKED_TOGETHER = 4


def next_draws(sweep: Sweep, outcomes: Sequence[float | None]) -> list[Values]:
    """The draws after those whose outcomes are known; None is that of a failed one."""
    settings, space = sweep.settings, sweep.space
    if settings.searcher == "optuna":
        return _ask_optuna(sweep, outcomes)
    if outcomes:
        return []
    if settings.searcher == "grid":
        return list(space.grid())
    return [space.random(settings.search_seed, n) for n in range(settings.num_samples)]


def _ask_optuna(sweep: Sweep, outcomes: Sequence[float | None]) -> list[Values]:
    if importlib.util.find_spec("optuna") is None:
        raise UserError(
            "sweep.searcher: optuna is not installed; run pip install -c constraints.txt --group "
            "optuna, or set searcher=random"
        )
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    sampler = optuna.samplers.TPESampler(seed=sweep.settings.search_seed)
    study = optuna.create_study(direction="maximize", sampler=sampler)
    left = iter(outcomes)
    for start in range(0, sweep.settings.num_samples, ASKED_TOGETHER):
        num = min(ASKED_TOGETHER, sweep.settings.num_samples - start)
        asked = [study.ask() for _ in range(num)]
        draws = [merged(_suggest(a, d) for d in sweep.space.dimensions) for a in asked]
        told = list(islice(left, num))
        if not told:
            return draws
        for trial, outcome in zip(asked, told, strict=True):
            if outcome is None:
                study.tell(trial, state=optuna.trial.TrialState.FAIL)
            else:
                study.tell(trial, outcome)
    return []


def _suggest(trial: Any, dimension: Dimension) -> Values:
    name, of = dimension.names[0], dimension.of
    if not isinstance(of, Range):
        places = list(range(len(of.values)))
        return dimension.all()[trial.suggest_categorical(name, places)]
    if of.whole:
        return {name: trial.suggest_int(name, int(of.low), int(of.high), log=of.log)}
    value = trial.suggest_float(name, of.low, of.high, log=of.log)
    return {name: of.rounded(value)}
