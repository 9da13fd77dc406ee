"""Execution accuracy: runs replies and gold queries and compares their results.

judge(pool, [Case(gold="SELECT 1", reply="SELECT 1.0", bindings=({},))])
-> [Verdict(status="match", ordered=True)]

A reply matches if its rows equal the gold query's for every binding of the placeholders, in every
engine that runs both. An engine that does not support the reply's syntax is skipped if the other
one does.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from datasets_src.sql.compare import Result, relate
from datasets_src.sql.sandbox import ENGINES, TIME_LIMIT_S, Engine, Outcome, WorkerPool
from datasets_src.sql.text import Binding, bound_texts

Texts = tuple[str, ...]  # one for each binding, or one if no placeholder occurs
Results = dict[Engine, Outcome]
# Per engine, of which there are at most two: a reply as slow as its gold query is within the limit.
GOLD_LIMIT_S = TIME_LIMIT_S / 2
MAX_GOLD_CELLS = 4_000_000  # in cached results, about 400 MB


@dataclass(frozen=True)
class Case:
    """A reply and the gold query that it should be equivalent to."""

    gold: str
    reply: str
    bindings: tuple[Binding, ...]


@dataclass(frozen=True)
class Verdict:
    """`status`: a relation of compare.py if the reply ran, otherwise the status of its Outcome."""

    status: str
    ordered: bool


class GoldQueryError(Exception):
    """Gold queries that no engine runs: `cases` are their indices, `details` the errors."""

    def __init__(self, cases: list[int], details: list[str]) -> None:
        super().__init__(details[0])
        self.cases = cases
        self.details = details


def judge(pool: WorkerPool, cases: Sequence[Case]) -> list[Verdict]:
    """One verdict per case, in order; each distinct gold query and reply runs once.

    Raises:
        GoldQueryError: a gold query fails in every engine; raised before any reply runs.
    """
    gold_texts = [bound_texts(case.gold, case.bindings, pool.dialect) for case in cases]
    golds = _run_golds(pool, gold_texts)
    by_run: dict[tuple[Texts, tuple[Engine, ...]], list[int]] = defaultdict(list)
    for index, case in enumerate(cases):
        texts = bound_texts(case.reply, case.bindings, pool.dialect)
        by_run[texts, tuple(golds[gold_texts[index]])].append(index)

    def judge_run(item: tuple[tuple[Texts, tuple[Engine, ...]], list[int]]) -> list[Verdict]:
        (texts, engines), indices = item
        is_gold = texts in golds and tuple(golds[texts]) == engines
        found = golds[texts] if is_gold else _run_reply(pool, texts, engines)
        return [_verdict(found, golds[gold_texts[index]]) for index in indices]

    verdicts: dict[int, Verdict] = {}
    for indices, judged in zip(
        by_run.values(), pool.executor.map(judge_run, by_run.items()), strict=True
    ):
        verdicts.update(zip(indices, judged, strict=True))
    return [verdicts[index] for index in range(len(cases))]


def _run_reply(pool: WorkerPool, texts: Texts, engines: Sequence[Engine]) -> Results:
    """Runs one engine after the other up to the first failure; they share the time limit."""
    found: Results = {}
    left_s = TIME_LIMIT_S
    for engine in engines:
        found[engine] = pool.run(texts, engine, max(left_s, 0.01))
        left_s -= found[engine].cpu_s
        if found[engine].status not in ("ok", "unsupported"):
            break
    return found


def _run_golds(pool: WorkerPool, wanted: Sequence[Texts]) -> dict[Texts, Results]:
    """The "ok" outcomes of the gold queries, from the pool's cache where it has them."""
    missing = [texts for texts in dict.fromkeys(wanted) if texts not in pool.gold]

    def run(texts: Texts) -> Results:
        return {engine: pool.run(texts, engine, GOLD_LIMIT_S) for engine in ENGINES[pool.dialect]}

    ran = dict(zip(missing, pool.executor.map(run, missing), strict=True))
    fresh = {
        texts: {engine: outcome for engine, outcome in outcomes.items() if outcome.status == "ok"}
        for texts, outcomes in ran.items()
    }
    if faults := {texts for texts, outcomes in fresh.items() if not outcomes}:
        bad = [index for index, texts in enumerate(wanted) if texts in faults]
        raise GoldQueryError(bad, [_why(ran[wanted[index]]) for index in bad])
    golds = {texts: fresh.get(texts) or pool.gold[texts] for texts in wanted}
    pool.gold.update(fresh)
    while sum(map(_num_cells, pool.gold.values())) > MAX_GOLD_CELLS and len(pool.gold) > 1:
        pool.gold.pop(next(iter(pool.gold)))
    return golds


def _num_cells(outcomes: Results) -> int:
    results = [result for outcome in outcomes.values() for result in outcome.results]
    return sum(len(result.rows) * result.num_columns for result in results)


def _why(outcomes: Results) -> str:
    return "; ".join(f"{e}: {o.status} {o.detail}".strip() for e, o in outcomes.items())


def _verdict(found: Results, gold: Results) -> Verdict:
    """Over all engines that ran both queries."""
    statuses = [outcome.status for outcome in found.values()]
    if bad := next((s for s in statuses if s not in ("ok", "unsupported")), None):
        return Verdict(bad, False)
    engines = [engine for engine, outcome in found.items() if outcome.status == "ok"]
    if not engines:
        return Verdict("invalid", False)
    expected: list[Result] = []
    replied: list[Result] = []
    for engine in engines:
        wanted, results = gold[engine].results, found[engine].results
        num = max(len(wanted), len(results))  # a text without a placeholder counts for all
        expected += [wanted[i % len(wanted)] for i in range(num)]
        replied += [results[i % len(results)] for i in range(num)]
    return Verdict(*relate(expected, replied))
