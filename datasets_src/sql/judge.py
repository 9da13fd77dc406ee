"""Runs replies and gold queries and says whether they agree.

judge(pool, [Case(gold="SELECT 1", reply="SELECT 1.0", bindings=({},))])
-> [Verdict(match=True, ordered=True, valid=True, status="ok")]

A reply matches when its rows equal the gold query's for every binding of the placeholders, in
every engine in which the gold query runs.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from datasets_src.sql.compare import same_rows, same_sequence
from datasets_src.sql.sandbox import ENGINES, Engine, Outcome, Pool

Binding = Mapping[str, Any]  # placeholder -> value
Results = dict[Engine, tuple[Outcome, ...]]  # one outcome a bound text, up to the first bad one
MAX_GOLD_CELLS = 4_000_000  # of cached results, some 400 MB


@dataclass(frozen=True)
class Case:
    """A reply beside the query it should equal."""

    gold: str
    reply: str
    bindings: tuple[Binding, ...]


@dataclass(frozen=True)
class Verdict:
    """`status` is the first that is not "ok", over the bindings and engines."""

    match: bool
    ordered: bool
    valid: bool
    status: str


class GoldFault(Exception):
    """Gold queries that run in no engine: `cases` are their indices, `details` what was said."""

    def __init__(self, cases: list[int], details: list[str]) -> None:
        super().__init__(details[0])
        self.cases = cases
        self.details = details


def literal(value: Any) -> str:
    """`value` as an SQL literal."""
    if value is None:
        return "NULL"
    if isinstance(value, bool | int | float):
        return str(int(value) if isinstance(value, bool) else value)
    return "'" + str(value).replace("'", "''") + "'"


def bind(sql: str, binding: Binding) -> str:
    """Put literals in the place of placeholders; inside quotes only the value's text."""
    for name, value in binding.items():
        first, *rest = sql.split(name)
        for piece in rest:
            inside_quotes = first.count("'") % 2 == 1
            first += literal(str(value))[1:-1] if inside_quotes else literal(value)
            first += piece
        sql = first
    return sql


def bound_texts(sql: str, bindings: Sequence[Binding]) -> tuple[str, ...]:
    """`sql` under each binding, or one text where it has no placeholder."""
    texts = tuple(bind(sql, binding) for binding in bindings) or (sql,)
    return texts[:1] if len(set(texts)) == 1 else texts


def run_texts(pool: Pool, texts: Sequence[str]) -> Results:
    """Each text in each engine; an engine is left at its first outcome that is not ok."""
    results: Results = {}
    for engine in ENGINES:
        outcomes: list[Outcome] = []
        for text in texts:
            outcomes.append(pool.run(text, engine))
            if outcomes[-1].status != "ok":
                break
        results[engine] = tuple(outcomes)
    return results


def runs(outcomes: Sequence[Outcome]) -> bool:
    return all(outcome.status == "ok" for outcome in outcomes)


def judge(pool: Pool, cases: Sequence[Case]) -> list[Verdict]:
    """A verdict a case, in their order; each distinct gold and reply is run once.

    Raises GoldFault before any reply is run.
    """
    golds = _run_golds(pool, cases)
    by_reply: dict[tuple[str, ...], list[int]] = defaultdict(list)
    for index, case in enumerate(cases):
        by_reply[bound_texts(case.reply, case.bindings)].append(index)

    def judge_reply(item: tuple[tuple[str, ...], list[int]]) -> list[tuple[int, Verdict]]:
        texts, indices = item
        if any(texts != bound_texts(cases[i].gold, cases[i].bindings) for i in indices):
            results = run_texts(pool, texts)
        else:  # the gold query itself
            results = golds[texts]
        return [(i, _verdict(results, golds[_gold_texts(cases[i])])) for i in indices]

    verdicts: dict[int, Verdict] = {}
    for judged in pool.executor.map(judge_reply, by_reply.items()):
        verdicts.update(judged)
    return [verdicts[index] for index in range(len(cases))]


def _gold_texts(case: Case) -> tuple[str, ...]:
    return bound_texts(case.gold, case.bindings)


def _run_golds(pool: Pool, cases: Sequence[Case]) -> dict[tuple[str, ...], Results]:
    """Results of the gold queries, from the pool's cache where they are there."""
    wanted = dict.fromkeys(_gold_texts(case) for case in cases)
    missing = [texts for texts in wanted if texts not in pool.gold]
    fresh = dict(
        zip(missing, pool.executor.map(lambda texts: run_texts(pool, texts), missing), strict=True)
    )
    golds: dict[tuple[str, ...], Results] = {t: fresh.get(t) or pool.gold[t] for t in wanted}
    faults = {t for t, results in golds.items() if not any(map(runs, results.values()))}
    if faults:
        bad = [i for i, case in enumerate(cases) if _gold_texts(case) in faults]
        raise GoldFault(bad, [_why(golds[_gold_texts(cases[i])]) for i in bad])
    pool.gold.update(fresh)
    while sum(map(_num_cells, pool.gold.values())) > MAX_GOLD_CELLS and len(pool.gold) > 1:
        pool.gold.pop(next(iter(pool.gold)))
    return golds


def _num_cells(results: Results) -> int:
    outcomes = [outcome for engine in results.values() for outcome in engine]
    return sum(len(o.rows) * len(o.rows[0]) for o in outcomes if o.rows)


def _why(results: Results) -> str:
    last = {engine: outcomes[-1] for engine, outcomes in results.items()}
    return "; ".join(f"{engine}: {o.status} {o.detail}".strip() for engine, o in last.items())


def _verdict(results: Results, gold: Results) -> Verdict:
    """Bound texts pair up by position; a text without a placeholder stands for all of them."""
    match = ordered = valid = True
    status = "ok"
    for engine, expected in gold.items():
        if not runs(expected):
            continue
        found = results[engine]
        if not runs(found):
            bad = next(o.status for o in found if o.status != "ok")
            return Verdict(False, False, False, bad)
        num = max(len(found), len(expected))
        for i in range(num):
            rows = found[i % len(found)].rows
            wanted = expected[i % len(expected)].rows
            match = match and same_rows(wanted, rows)
            ordered = ordered and same_sequence(wanted, rows)
    return Verdict(match, ordered and match, valid, status)
