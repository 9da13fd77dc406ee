"""DoRA: gradients of the packed step equal PEFT's."""

from pathlib import Path

import torch
from peft import LoraConfig, PeftModel, get_peft_model

from tests.trainers.export.tiny_export import TARGETS
from tests.trainers.methods.tiny_train import (
    optimizer_of,
    packed_gradients,
    plain_gradients,
    rows,
    train,
)
from trainers.config.schema import DoraMethod
from trainers.methods import dora
from trainers.models.load import load_base

KINDS = ("lora_A", "lora_B", "lora_magnitude_vector")


def test_gradients_equal_pefts_one_row_at_a_time(base: Path, tmp_path: Path) -> None:
    model = dora.build(base, DoraMethod(lora_r=4), dtype=torch.float32, seed=3, device="cpu")
    train(model, optimizer_of(model), base, range(2), rate=1e-2)
    dora.save(model, tmp_path, base_name="tiny")
    reference = PeftModel.from_pretrained(
        load_base(base, torch.float32), tmp_path, is_trainable=True
    )
    got, want = packed_gradients(model, rows(base)), plain_gradients(reference, rows(base))
    assert got.keys() == want.keys() and len(want) == 14 * 3
    assert {kind for kind in KINDS for name in want if kind in name} == set(KINDS)
    for name in want:
        error = (got[name] - want[name]).norm() / want[name].norm()
        assert error < 1e-4, (name, float(error))


def test_a_fresh_adapter_equals_pefts(base: Path) -> None:
    ours = dora.build(base, DoraMethod(lora_r=4), dtype=torch.float32, seed=3, device="cpu")
    torch.manual_seed(3)
    config = LoraConfig(
        task_type="CAUSAL_LM", r=4, lora_alpha=32, target_modules=list(TARGETS), use_dora=True
    )
    theirs = get_peft_model(load_base(base, torch.float32), config)
    for a, b in zip(ours.parameters(), theirs.parameters(), strict=True):
        assert torch.equal(a, b)
