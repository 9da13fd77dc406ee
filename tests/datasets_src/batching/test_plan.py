"""The batch plan: each row once per epoch, micro-batches within the budget and of similar cost."""

import random
from itertools import chain

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from datasets_src.batching.plan import cut_step, plan_run, prefix_units, share_out
from datasets_src.types import StepPlan, TokenizedExample


def plan_of(num_rows: int, **changed: object) -> list[StepPlan]:
    arguments = {"seed": 1, "num_epochs": 2, "max_steps": -1, "train_batch_size": 8} | changed
    return plan_run(num_rows, **arguments)  # type: ignore[arg-type]


def examples(rows: list[list[int]]) -> list[TokenizedExample]:
    return [TokenizedExample(str(i), str(i), tuple(ids), 1) for i, ids in enumerate(rows)]


@settings(deadline=None)
@given(
    num_rows=st.integers(1, 60),
    seed=st.integers(0, 9),
    epochs=st.integers(1, 3),
    batch=st.integers(1, 9),
    group_size=st.sampled_from([None, 2, 3]),
)
def test_every_row_occurs_once_per_epoch(
    num_rows: int, seed: int, epochs: int, batch: int, group_size: int | None
) -> None:
    draw = random.Random(seed)
    rows = [[draw.randrange(3) for _ in range(draw.randint(1, 6))] for _ in range(num_rows)]
    units = None if group_size is None else prefix_units(rows, group_size)
    plan = plan_of(num_rows, seed=seed, num_epochs=epochs, train_batch_size=batch, units=units)
    assert [step.step for step in plan] == list(range(1, len(plan) + 1))
    for epoch in range(epochs):
        seen = [row for step in plan if step.epoch == epoch for row in step.rows]
        assert sorted(seen) == list(range(num_rows))
    assert all(0 < len(step.rows) <= batch for step in plan)


def test_epochs_differ_and_a_cut_plan_is_a_prefix() -> None:
    whole = plan_of(40)
    assert len(whole) == 10 and plan_of(40, max_steps=7) == whole[:7]
    first, second = ([s.rows for s in whole if s.epoch == e] for e in (0, 1))
    assert first != second


def test_grouped_rows_stay_together_in_another_order_each_epoch() -> None:
    rows = [[i // 4, i] for i in range(32)]
    plan = plan_of(32, units=prefix_units(rows, 4), train_batch_size=4)
    steps = [sorted(step.rows) for step in plan]
    assert all(step == list(range(step[0], step[0] + 4)) for step in steps)
    assert sorted(steps[:8]) == sorted(steps[8:]) and steps[:8] != steps[8:]


rows_of = st.lists(st.lists(st.integers(0, 2), min_size=1, max_size=30), min_size=1, max_size=20)


@settings(deadline=None)
@given(rows=rows_of, workers=st.integers(1, 4), limit=st.integers(30, 200), share=st.integers(1, 9))
def test_micro_batches_hold_each_row_once_within_the_budget(
    rows: list[list[int]], workers: int, limit: int, share: int
) -> None:
    cut = cut_step(examples(rows), num_workers=workers, max_tokens=limit, min_share=share)
    assert sorted(row.id for batch in cut for row in batch.rows) == sorted(
        str(i) for i in range(len(rows))
    )
    assert all(batch.num_tokens <= limit for batch in cut)
    assert all(0 < batch.num_tokens <= sum(len(r.input_ids) for r in batch.rows) for batch in cut)


def worker_rows(rows: list[TokenizedExample], *, workers: int, limit: int = 200) -> list[list[int]]:
    """For each worker, the numbers of its rows of a step."""
    cut = cut_step(rows, num_workers=workers, max_tokens=limit, min_share=3)
    shares = share_out([batch.num_tokens for batch in cut], workers)
    return [[int(row.id) for i in share for row in cut[i].rows] for share in shares]


@pytest.mark.parametrize(
    ("num_rows", "workers"), [(65, 2), (65, 3), (3, 8), (1, 2), (1, 1), (8, 8)]
)
def test_each_row_of_a_step_goes_to_one_worker(num_rows: int, workers: int) -> None:
    rows = examples([[i % 5] * (1 + i % 7) for i in range(num_rows)])
    taken = worker_rows(rows, workers=workers)
    assert len(taken) == workers
    assert sorted(chain(*taken)) == list(range(num_rows))
    # A worker is idle only if there are too few rows.
    assert sum(map(bool, taken)) == min(num_rows, workers)


@settings(deadline=None)
@given(
    lengths=st.lists(st.integers(1, 30), min_size=1, max_size=40),
    seed=st.integers(0, 2**32 - 1),
    epochs=st.integers(1, 3),
    batch=st.integers(1, 17),
    max_steps=st.sampled_from([-1, 1, 5]),
    group_size=st.sampled_from([None, 2, 5]),
    parts=st.lists(st.tuples(st.integers(1, 12), st.integers(1, 5)), max_size=6),
    last_workers=st.integers(1, 5),
)
def test_a_run_resumed_anywhere_at_any_world_size_equals_the_uninterrupted_run(
    lengths: list[int],
    seed: int,
    epochs: int,
    batch: int,
    max_steps: int,
    group_size: int | None,
    parts: list[tuple[int, int]],
    last_workers: int,
) -> None:
    ids = [[(i * k) % 3 for k in range(length)] for i, length in enumerate(lengths)]
    rows = examples(ids)

    def plan() -> list[StepPlan]:  # each part plans again, as a new process does
        return plan_of(
            len(rows),
            seed=seed,
            num_epochs=epochs,
            max_steps=max_steps,
            train_batch_size=batch,
            units=None if group_size is None else prefix_units(ids, group_size),
        )

    taken: list[tuple[int, list[int]]] = []
    for num_steps, workers in [*parts, (10**6, last_workers)]:
        for step in plan()[len(taken) :][:num_steps]:
            shares = worker_rows([rows[i] for i in step.rows], workers=workers)
            taken.append((step.step, sorted(chain(*shares))))
    assert taken == [(step.step, sorted(step.rows)) for step in plan()]
    used = [row for _, step_rows in taken for row in step_rows]
    if max_steps < 0:
        assert sorted(used) == sorted([*range(len(rows))] * epochs)


@pytest.mark.parametrize("workers", [1, 2, 3])
def test_one_micro_batch_per_worker_if_memory_allows(workers: int) -> None:
    rows = [[0] * 500 + [i] * 20 for i in range(18)]
    cut = cut_step(examples(rows), num_workers=workers, max_tokens=4096, min_share=8)
    assert [batch.num_tokens for batch in cut] == [500 + 20 * 18 // workers] * workers
    tight = cut_step(examples(rows), num_workers=workers, max_tokens=600, min_share=8)
    assert len(tight) % workers == 0 and max(b.num_tokens for b in tight) <= 600
    assert sum(b.num_tokens for b in tight) > sum(b.num_tokens for b in cut)


def test_rows_that_share_nothing_are_balanced_over_two_workers() -> None:
    rows = [[i] * length for i, length in enumerate([900, 80, 700, 90, 600, 500, 400, 100])]
    cut = cut_step(examples(rows), num_workers=2, max_tokens=4096, min_share=8)
    costs = [batch.num_tokens for batch in cut]
    loads = [sum(costs[i] for i in share) for share in share_out(costs, 2)]
    assert sum(loads) == 3370 and max(loads) < 1.02 * 3370 / 2  # halves of the order: 1770, 1600


@settings(deadline=None)
@given(costs=st.lists(st.integers(1, 1000), max_size=40), workers=st.integers(1, 8))
def test_shares_are_a_balanced_partition(costs: list[int], workers: int) -> None:
    shares = share_out(costs, workers)
    assert sorted(i for share in shares for i in share) == list(range(len(costs)))
    loads = [sum(costs[i] for i in share) for share in shares]
    # Longest-processing-time-first is within 4/3 of the best (Graham 1969).
    best = max(sum(costs) / workers, max(costs, default=0))
    if len(costs) > workers:
        ranked = sorted(costs, reverse=True)
        best = max(best, ranked[workers - 1] + ranked[workers])
    assert max(loads) <= 4 / 3 * best + 1e-9


def test_a_plan_depends_on_its_arguments_only() -> None:
    np.random.seed(3)
    assert plan_of(50, seed=5) == plan_of(50, seed=5) != plan_of(50, seed=6)
