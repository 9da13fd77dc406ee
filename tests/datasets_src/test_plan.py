"""The batch plan: each row once an epoch, within the budget, the same for any worker count."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from datasets_src.plan import MICRO_BATCHES, cut_micro_batches, plan_run, share_out

lengths_of = st.lists(st.integers(1, 500), min_size=1, max_size=60).map(np.array)


@given(
    lengths=lengths_of, seed=st.integers(0, 9), epochs=st.integers(1, 3), batch=st.integers(1, 9)
)
def test_every_row_exactly_once_an_epoch(
    lengths: np.ndarray, seed: int, epochs: int, batch: int
) -> None:
    plan = plan_run(
        lengths, seed=seed, num_epochs=epochs, max_steps=-1, train_batch_size=batch, max_tokens=600
    )
    assert [step.step for step in plan] == list(range(1, len(plan) + 1))
    for epoch in range(epochs):
        seen = [r for step in plan if step.epoch == epoch for mb in step.micro_batches for r in mb]
        assert sorted(seen) == list(range(len(lengths)))
    for step in plan:
        rows = [r for mb in step.micro_batches for r in mb]
        assert 0 < len(rows) <= batch
        for mb in step.micro_batches:
            assert len(mb) == 1 or len(mb) * max(lengths[list(mb)]) <= 600


@given(length=st.integers(1, 300), num_rows=st.integers(1, 20))
def test_a_small_step_still_feeds_several_workers(length: int, num_rows: int) -> None:
    cut = cut_micro_batches(range(num_rows), np.full(num_rows, length), 10_000)
    assert len(cut) == num_rows or len(cut) % MICRO_BATCHES == 0
    sizes = [len(part) for part in cut]
    assert max(sizes) - min(sizes) <= 1 and min(sizes) >= 1


def test_epochs_differ_and_a_cut_plan_is_a_prefix() -> None:
    def plan(max_steps: int) -> list[object]:
        return list(
            plan_run(
                np.full(40, 7),
                seed=1,
                num_epochs=2,
                max_steps=max_steps,
                train_batch_size=8,
                max_tokens=64,
            )
        )

    whole = plan(-1)
    assert len(whole) == 10 and plan(7) == whole[:7]
    first, second = ([s.micro_batches for s in whole if s.epoch == e] for e in (0, 1))  # type: ignore[attr-defined]
    assert first != second


@given(costs=st.lists(st.integers(1, 1000), max_size=40), workers=st.integers(1, 8))
def test_shares_are_a_partition_and_nearly_even(costs: list[int], workers: int) -> None:
    shares = share_out(costs, workers)
    assert sorted(i for share in shares for i in share) == list(range(len(costs)))
    loads = [sum(costs[i] for i in share) for share in shares]
    # Longest-processing-time-first is within 4/3 of the best (Graham 1969).
    best = max(sum(costs) / workers, max(costs, default=0))
    if len(costs) > workers:
        ranked = sorted(costs, reverse=True)
        best = max(best, ranked[workers - 1] + ranked[workers])
    assert max(loads) <= 4 / 3 * best + 1e-9
