"""On a GPU: the packed step with FlexAttention has the plain step's loss and gradient on CPU."""

import copy
from typing import Any, cast

import pytest
import torch

from tests.trainers.step.plain_step import (
    build_model,
    count_targets,
    gradients,
    plain_backward,
    random_rows,
    relative_error,
)
from trainers.step.packing import pack
from trainers.step.train_step import loss_part

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")
CUDA = cast(Any, torch.device("cuda"))
# FlexAttention's kernel requires a head width of at least 16.
SIZES: dict[str, Any] = {"hidden_size": 128, "num_attention_heads": 2}


@pytest.mark.parametrize("name", ["llama", "mistral-window", "falcon-7b"])
def test_the_gpu_step_has_the_cpu_gradient(name: str) -> None:
    examples = random_rows(12, shared=40)
    model = build_model(name, dtype=torch.float32, wide_norms=False, **SIZES)
    plain = copy.deepcopy(model)
    batch = pack(examples, min_share=4)
    loss = loss_part(model.to(CUDA), batch, num_targets=count_targets(examples))
    loss.backward()
    want = plain_backward(plain, examples)
    assert float(loss.detach()) == pytest.approx(want, rel=1e-4)
    got = {name: grad.cpu() for name, grad in gradients(model).items()}
    # The compiled kernel multiplies float32 in TF32.
    assert relative_error(got, gradients(plain)) < 5e-3


def test_many_shapes_compile_once() -> None:
    model = build_model(dtype=torch.bfloat16, wide_norms=False, **SIZES).to(CUDA)
    for seed in range(6):
        rows = random_rows(4 + seed, seed=seed, shared=30)
        batch = pack(rows, min_share=4)
        loss_part(model, batch, num_targets=count_targets(rows)).backward()
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] <= 2
