"""QLoRA: gradients, memory, and refused bases and targets."""

import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from bitsandbytes.functional import dequantize_4bit
from bitsandbytes.nn import Linear4bit
from torch import nn
from transformers import FalconConfig, LlamaConfig, LlamaForCausalLM

from datasets_src.errors import UserError
from tests.trainers.export.tiny_export import edit_json
from tests.trainers.methods.tiny_train import build, packed_gradients, plain_gradients, rows, train
from tests.trainers.methods.tiny_train import optimizer_of as optimizer_for
from trainers.config.schema import LoraMethod, QloraMethod
from trainers.methods import lora, qlora
from trainers.models.load import load_base
from trainers.models.resolve import attention_of


def quantised_weights(model: nn.Module) -> dict[str, Any]:
    """Name -> bitsandbytes' parameter, with its quant_state."""
    layers = model.named_modules()
    return {f"{name}.weight": m.weight for name, m in layers if isinstance(m, Linear4bit)}


def dequantise_into(base: nn.Module, quantised: nn.Module) -> None:
    """Give `base` the weights that `quantised` computes with."""
    for name, weight in quantised_weights(quantised).items():
        param = base.get_parameter(name)
        param.data = dequantize_4bit(weight.data, weight.quant_state).to(param.dtype)


@pytest.mark.parametrize("double", [True, False])
def test_gradients_equal_those_of_the_dequantised_base(base: Path, double: bool) -> None:
    method = QloraMethod(lora_r=4, bnb_4bit_use_double_quant=double)
    model = qlora.build(base, method, dtype=torch.float32, seed=3, device="cpu")
    states = [weight.quant_state for weight in quantised_weights(model).values()]
    assert len(states) == 14 and all(state.quant_type == "nf4" for state in states)
    assert all(state.nested == double for state in states)
    train(model, optimizer_for(model), base, range(2), rate=1e-2)  # so that B is not zero
    plain = load_base(base, torch.float32)
    dequantise_into(plain, qlora.load_quantised(base, method, dtype=torch.float32, device="cpu"))
    reference = lora.add_adapter(plain, LoraMethod(lora_r=4), seed=9)
    trained = {n: p for n, p in model.named_parameters() if p.requires_grad}
    for name, param in reference.named_parameters():
        if param.requires_grad:
            param.data = trained[name].detach().clone()
    got, want = packed_gradients(model, rows(base)), plain_gradients(reference, rows(base))
    assert got.keys() == want.keys() == trained.keys()
    for name in want:
        cosine = torch.cosine_similarity(got[name].flatten(), want[name].flatten(), dim=0)
        error = (got[name] - want[name]).norm() / want[name].norm()
        assert cosine > 0.9999 and error < 1e-2, (name, float(cosine), float(error))


def test_the_quantised_base_takes_less_memory(tmp_path: Path) -> None:
    """At the widths of a real model: linear layers are most of it, an embedding stays."""
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=2048,
        hidden_size=1024,
        intermediate_size=2048,
        num_hidden_layers=2,
        num_attention_heads=8,
        tie_word_embeddings=True,
    )
    model = LlamaForCausalLM(config)
    for param in model.parameters():
        param.data = param.data.bfloat16()
    model.save_pretrained(tmp_path)
    plain = load_base(tmp_path, torch.bfloat16)
    sizes = {}
    for double in (True, False):
        method = QloraMethod(bnb_4bit_use_double_quant=double)
        sizes[double] = stored_bytes(
            qlora.load_quantised(tmp_path, method, dtype=torch.bfloat16, device="cpu")
        )
    assert sizes[True] <= 0.65 * stored_bytes(plain)
    # Scales take 32 bits per 64 weights, with double quantisation a little over 8.
    num_weights = sum(m.weight.numel() for m in plain.modules() if isinstance(m, nn.Linear))
    num_weights -= plain.lm_head.weight.numel()
    saved_bits = 8 * (sizes[False] - sizes[True]) / num_weights
    assert saved_bits == pytest.approx(0.373, abs=0.02)


def stored_bytes(model: nn.Module) -> int:
    """Bytes of all weights with their quantisation scales; shared storages count once."""
    tensors: list[torch.Tensor] = list(model.parameters())
    for weight in quantised_weights(model).values():
        state = weight.quant_state
        tensors += [state.absmax, state.code]
        if state.nested:
            tensors += [state.offset, state.state2.absmax, state.state2.code]
    storages = {t.untyped_storage().data_ptr(): t.untyped_storage().nbytes() for t in tensors}
    return sum(storages.values())


def test_evaluation_does_not_repack_weights(base: Path) -> None:
    """bitsandbytes would, on a CPU with AVX512_BF16: permanently, and without a backward."""
    model = build("qlora", base, dtype=torch.bfloat16).eval()
    before = [p.clone() for p in model.parameters()]
    with torch.no_grad():
        model(input_ids=torch.arange(8)[None])
    for old, new in zip(before, model.parameters(), strict=True):
        assert torch.equal(old, new)
        assert not getattr(getattr(new, "quant_state", None), "packing_format_for_cpu", False)


def test_layers_that_bitsandbytes_skips_are_refused(tmp_path: Path) -> None:
    config = FalconConfig(
        vocab_size=64, hidden_size=32, num_hidden_layers=1, num_attention_heads=4, alibi=False
    )
    config.save_pretrained(tmp_path)
    method = QloraMethod(lora_target_modules=("query_key_value",))
    with pytest.raises(UserError, match=r"cannot quantise the FalconLinear layers .*set method"):
        qlora.check(tmp_path, method)
    lora.check(tmp_path, LoraMethod(lora_target_modules=("query_key_value",)))


def test_a_missing_package_is_named(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # With None in sys.modules, an import raises ImportError.
    monkeypatch.setitem(sys.modules, "bitsandbytes", None)
    with pytest.raises(UserError, match=r"needs the package bitsandbytes .*--group qlora"):
        qlora.check(base, QloraMethod())
    monkeypatch.undo()
    qlora.check(base, QloraMethod())


def test_a_base_that_is_quantised_already_is_refused(base: Path, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_bytes((base / "config.json").read_bytes())
    attention_of(tmp_path)
    edit_json(tmp_path / "config.json", quantization_config={"quant_method": "bitsandbytes"})
    with pytest.raises(UserError, match=r"quantised already.*original base"):
        attention_of(tmp_path)
