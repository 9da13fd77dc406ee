"""Which values are tried next, from the settings and the outcomes of earlier draws alone.

next_draws(sweep, [])  ->  [{"train.learning_rate": 3.2e-4}, …]     [] when the search is complete

`random` and `grid` draw all at once. `optuna` draws in batches and is given all outcomes of a
batch, in the order of the draws, before the next one: replayed from the first batch after a
restart, it draws the same values.
"""

import importlib.util
from collections.abc import Sequence
from itertools import islice
from typing import Any

from datasets_src.errors import UserError
from tune.config import Sweep
from tune.space import Dimension, Range, Values, merged

BATCH_SIZE = 4


def next_draws(sweep: Sweep, outcomes: Sequence[float | None]) -> list[Values]:
    """The draws after those whose `outcomes` are known; the outcome of a failed draw is None."""
    settings, space = sweep.settings, sweep.space
    if settings.searcher == "optuna":
        return _optuna_draws(sweep, outcomes)
    if outcomes:
        return []
    if settings.searcher == "grid":
        return list(space.grid())
    return [space.random(settings.search_seed, n) for n in range(settings.num_samples)]


def _optuna_draws(sweep: Sweep, outcomes: Sequence[float | None]) -> list[Values]:
    if importlib.util.find_spec("optuna") is None:
        raise UserError(
            "sweep.searcher: optuna is not installed; run pip install -c constraints.txt --group "
            "optuna, or set searcher=random"
        )
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    sampler = optuna.samplers.TPESampler(seed=sweep.settings.search_seed)
    study = optuna.create_study(direction="maximize", sampler=sampler)
    remaining = iter(outcomes)
    for start in range(0, sweep.settings.num_samples, BATCH_SIZE):
        num_draws = min(BATCH_SIZE, sweep.settings.num_samples - start)
        trials = [study.ask() for _ in range(num_draws)]
        draws = [merged(_suggest(t, d) for d in sweep.space.dimensions) for t in trials]
        batch = list(islice(remaining, num_draws))
        if not batch:
            return draws
        for trial, outcome in zip(trials, batch, strict=True):
            if outcome is None:
                study.tell(trial, state=optuna.trial.TrialState.FAIL)
            else:
                study.tell(trial, outcome)
    return []


def _suggest(trial: Any, dimension: Dimension) -> Values:
    name, domain = dimension.names[0], dimension.domain
    if not isinstance(domain, Range):
        indices = list(range(len(domain.values)))
        return dimension.values()[trial.suggest_categorical(name, indices)]
    if domain.integer:
        return {name: trial.suggest_int(name, int(domain.low), int(domain.high), log=domain.log)}
    value = trial.suggest_float(name, domain.low, domain.high, log=domain.log)
    return {name: domain.rounded(value)}
