"""Our LoRA layer has the values and gradients of PEFT's, which runs for other variants."""

import copy

import pytest
import torch
from peft.tuners.lora.layer import Linear

from tests.trainers.step.plain_step import build_model, gradients, relative_error
from trainers.config.schema import LoraMethod
from trainers.methods import lora_linear
from trainers.methods.lora import add_adapter
from trainers.methods.lora_linear import LoraLinear

IDS = torch.arange(12).view(2, 6)


def tuned(name: str = "llama", **method: object) -> torch.nn.Module:
    model = add_adapter(build_model(name), LoraMethod(lora_r=4, **method), seed=0).double()
    torch.manual_seed(1)
    for key, parameter in model.named_parameters():
        if "lora_B" in key or key.endswith("bias"):
            torch.nn.init.normal_(parameter, std=0.1)
    assert any(isinstance(module, LoraLinear) for module in model.modules())
    return model


def as_peft(model: torch.nn.Module) -> torch.nn.Module:
    """The same adapter in PEFT's own layers."""
    other = copy.deepcopy(model)
    for module in other.modules():
        if isinstance(module, LoraLinear):
            module.__class__ = Linear  # type: ignore[assignment]
    return other


@pytest.mark.parametrize("use_rslora", [False, True])
@pytest.mark.parametrize("thread_rows", [1, 4, 512])
@pytest.mark.parametrize("name", ["llama", "qwen2"])
def test_values_and_gradients_equal_pefts(
    name: str, thread_rows: int, use_rslora: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In row blocks, the last one smaller, or in one; Qwen 2 has biases."""
    monkeypatch.setattr(lora_linear, "THREAD_ROWS", thread_rows)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    model = tuned(name, use_rslora=use_rslora)
    other = as_peft(model)
    outs = []
    for one in (model, other):
        logits = one(input_ids=IDS).logits
        logits.square().mean().backward()
        outs.append(logits.detach())
    torch.testing.assert_close(outs[0], outs[1], rtol=1e-12, atol=1e-12)
    ours, theirs = gradients(model), gradients(other)
    assert len(ours) == 2 * 7 * 2 and all("lora_" in name for name in ours)
    assert relative_error(ours, theirs) < 1e-12


def test_a_disabled_adapter_leaves_the_base() -> None:
    model = tuned()
    with model.disable_adapter(), torch.no_grad():  # type: ignore[operator]
        got = model(input_ids=IDS).logits
    with torch.no_grad():
        assert torch.equal(got, build_model()(input_ids=IDS).logits)
        assert not torch.equal(got, model(input_ids=IDS).logits)


def test_dropout_in_training_is_pefts() -> None:
    model = tuned(lora_dropout=0.5)
    other = as_peft(model)
    for training in (True, False):
        outs = []
        for one in (model.train(training), other.train(training)):
            torch.manual_seed(3)
            with torch.no_grad():
                outs.append(one(input_ids=IDS).logits)
        torch.testing.assert_close(outs[0], outs[1], rtol=1e-12, atol=1e-12)


def test_masters_stay_float32_under_a_bfloat16_base() -> None:
    model = add_adapter(build_model(dtype=torch.bfloat16), LoraMethod(lora_r=4), seed=0)
    logits = model(input_ids=IDS).logits
    assert logits.dtype == torch.bfloat16
    logits.float().square().mean().backward()
    trained = [p for p in model.parameters() if p.requires_grad]
    assert all(p.dtype == torch.float32 == p.grad.dtype for p in trained if p.grad is not None)
