"""The head's loss equals PyTorch's cross-entropy: value, and gradients of hidden and head."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from trainers.kernels import head_loss as module
from trainers.kernels.head_loss import head_loss

N, D, V = 23, 8, 31


def inputs(dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    torch.manual_seed(0)
    hidden = (2 * torch.randn(N, D, dtype=torch.float64)).to(dtype).requires_grad_()
    head = torch.randn(V, D, dtype=torch.float64).to(dtype).requires_grad_()
    return hidden, head, torch.randint(0, V, (N,)), torch.randint(1, 5, (N,)).double() / 17


@pytest.mark.parametrize("trained_head", [False, True])
@pytest.mark.parametrize("chunk_rows", [1, 5, 23, 100])
def test_value_and_gradients(
    trained_head: bool, chunk_rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "CHUNK_ROWS", chunk_rows)
    hidden, head, targets, weights = inputs(torch.float64)
    head.requires_grad_(trained_head)
    loss = head_loss(hidden, head, targets, weights)
    (loss * 1.5).backward()
    got = (hidden.grad, head.grad)
    hidden.grad = head.grad = None
    want = (F.cross_entropy(hidden @ head.t(), targets, reduction="none") * weights).sum()
    (want * 1.5).backward()
    torch.testing.assert_close(loss, want, rtol=1e-14, atol=0)
    assert hidden.grad is not None and (head.grad is not None) == trained_head
    for ours, theirs in zip(got, (hidden.grad, head.grad), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-14)


def test_a_nearly_learnt_token_keeps_its_gradient_in_bfloat16() -> None:
    hidden = torch.zeros(1, D, dtype=torch.bfloat16)
    hidden[0, 0] = 1
    head = torch.zeros(V, D, dtype=torch.bfloat16)
    head[3, 0] = 10.0
    hidden.requires_grad_()
    head_loss(hidden, head, torch.tensor([3]), torch.ones(1)).backward()
    wrong = (V - 1) / (V - 1 + torch.tensor(10.0).exp())
    assert hidden.grad is not None
    assert hidden.grad[0, 0].item() == pytest.approx(-10 * wrong.item(), rel=2**-8)
