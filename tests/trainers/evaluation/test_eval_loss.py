"""Row losses equal those of one row at a time, for any world size and micro-batches."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from datasets_src.types import TokenizedExample
from tests.trainers.step.plain_step import as_examples, build_model, random_rows
from trainers.evaluation.eval_loss import row_losses
from trainers.step.train_step import NonFiniteError


def plain_losses(model: torch.nn.Module, rows: list[TokenizedExample]) -> list[float]:
    """transformers' own forward and PyTorch's cross-entropy, one row at a time."""
    losses = []
    for row in rows:
        ids, first = torch.tensor(row.input_ids), max(row.prompt_len, 1)
        with torch.no_grad():
            logits = model(input_ids=ids[None], use_cache=False).logits[0]
        losses.append(float(F.cross_entropy(logits[first - 1 : -1], ids[first:])))
    return losses


@pytest.mark.parametrize("family", ["llama", "llama-tied", "mistral-window", "falcon-new"])
def test_losses_equal_those_of_one_row_at_a_time(family: str) -> None:
    rows = [
        *random_rows(9),
        *as_examples([([5, 6, 7, 8], 2), ([5, 6, 7, 8], 2), ([5, 6, 7, 8, 9], 4), ([3, 4], 0)]),
    ]
    model = build_model(family)
    want = plain_losses(model, rows)
    for max_tokens in (10, 4096):
        found = row_losses(model, rows, max_tokens=max_tokens, min_share=2)
        assert [found[i] for i in range(len(rows))] == pytest.approx(want, rel=1e-11)


@settings(deadline=None, max_examples=25)
@given(seed=st.integers(0, 99), num_rows=st.integers(1, 90), world_size=st.integers(2, 3))
def test_losses_are_bit_identical_for_any_world_size(
    seed: int, num_rows: int, world_size: int
) -> None:
    rows, model = random_rows(num_rows, seed), build_model(dtype=torch.bfloat16)
    alone = row_losses(model, rows, max_tokens=64, min_share=4)
    shares = [
        row_losses(model, rows, max_tokens=64, min_share=4, rank=rank, world_size=world_size)
        for rank in range(world_size)
    ]
    assert sum(len(share) for share in shares) == len(rows)
    assert {i: loss for share in shares for i, loss in share.items()} == alone


def test_it_reports_progress_after_each_micro_batch() -> None:
    calls: list[int] = []
    rows = random_rows(20)
    row_losses(build_model(), rows, max_tokens=40, min_share=4, on_progress=lambda: calls.append(1))
    assert len(calls) > 1


def test_a_loss_that_is_not_finite_is_reported_with_its_row() -> None:
    model = build_model()
    with torch.no_grad():
        model.lm_head.weight[3] = float("inf")
    with pytest.raises(NonFiniteError, match="eval_loss of row 1 is nan"):
        row_losses(model, as_examples([([1, 2, 3], 1)] * 2)[1:], max_tokens=64, min_share=4)
