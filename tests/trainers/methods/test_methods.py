"""Every method through its protocol: it learns, resumes bit-identically, and can be undone."""

import hashlib
from pathlib import Path
from typing import get_args

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.trainers.methods.tiny_train import (
    CONFIGS,
    RATES,
    build,
    logits,
    optimizer_of,
    train,
)
from trainers.config.schema import Method
from trainers.methods import dora, full, lora, qlora
from trainers.methods.choose import method_module
from trainers.methods.contract import TrainingMethod
from trainers.models.load import load_base
from trainers.step.optimizer import FILE, load_optimizer_state, optimizer_state

# `make lint` has mypy check each module's signatures against the protocol.
METHODS: dict[str, TrainingMethod] = {"lora": lora, "dora": dora, "qlora": qlora, "full": full}
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


def test_mypy_checks_every_method() -> None:
    known = get_args(Method)
    assert METHODS.keys() == {kind.model_fields["method_type"].default for kind in known}
    assert {name: method_module(config) for name, config in CONFIGS.items()} == METHODS


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", METHODS)
def test_a_method_learns_and_resumes_bit_identically(
    base: Path, tmp_path: Path, name: str, dtype: str
) -> None:
    method, rate = METHODS[name], RATES[name]
    method.check(base, CONFIGS[name])
    model = build(name, base, dtype=DTYPES[dtype])
    optimizer = optimizer_of(model)
    losses = train(model, optimizer, base, range(3), rate=rate)
    half, whole, again = (tmp_path / part for part in ("half", "whole", "again"))
    for folder in (half, whole, again):
        folder.mkdir()
    method.save(model, half, base_name="tiny")
    save_file(optimizer_state(optimizer, model), half / FILE)
    losses += train(model, optimizer, base, range(3, 8), rate=rate)
    method.save(model, whole, base_name="tiny")
    save_file(optimizer_state(optimizer, model), whole / FILE)
    # Even steps train on the same rows.
    assert losses[6] < 0.95 * losses[0], losses

    resumed = build(name, base, dtype=DTYPES[dtype])
    fresh = optimizer_of(resumed)
    method.load(resumed, half)
    load_optimizer_state(fresh, resumed, load_file(half / FILE))
    before = logits(resumed, base)  # evaluation between steps must not change them
    with method.untuned(resumed):
        logits(resumed, base)
    assert torch.equal(logits(resumed, base), before)
    assert train(resumed, fresh, base, range(3, 8), rate=rate) == losses[3:]
    method.save(resumed, again, base_name="tiny")
    save_file(optimizer_state(fresh, resumed), again / FILE)
    for file in (method.FILES[1], "optimizer.safetensors"):
        assert (again / file).read_bytes() == (whole / file).read_bytes(), file


@pytest.mark.parametrize("name", METHODS)
def test_a_loaded_model_and_its_untuned_base_are_bit_identical(
    base: Path, tmp_path: Path, name: str
) -> None:
    method = method_module(CONFIGS[name])
    digest = hashlib.sha256((base / "model.safetensors").read_bytes()).hexdigest()
    untrained = logits(build(name, base), base)
    model = build(name, base)
    optimizer = optimizer_of(model)
    train(model, optimizer, base, range(3), rate=RATES[name])
    trained = logits(model, base)
    assert (trained - untrained).abs().max() > 0.05
    method.save(model, tmp_path, base_name="tiny")
    assert sorted(method.FILES) == sorted(path.name for path in tmp_path.iterdir())
    loaded = build(name, base)
    method.load(loaded, tmp_path)
    assert torch.equal(logits(loaded, base), trained)
    with method.untuned(loaded):
        assert torch.equal(logits(loaded, base), untrained)
    assert torch.equal(logits(loaded, base), trained)
    # Weights are memory-mapped from the base's file and trained in place: the file must not change.
    assert hashlib.sha256((base / "model.safetensors").read_bytes()).hexdigest() == digest


@pytest.mark.parametrize("name", METHODS)
def test_an_untrained_model_is_the_base(base: Path, name: str) -> None:
    """In bfloat16, which would round DoRA's magnitudes; qlora's base is its 4-bit copy."""
    model = build(name, base, dtype=torch.bfloat16)
    with METHODS[name].untuned(model):
        want = logits(model, base)
    assert torch.equal(logits(model, base), want)
    plain = logits(load_base(base, torch.bfloat16), base)
    assert torch.equal(want, plain) == (name != "qlora")


@pytest.mark.parametrize("name", METHODS)
def test_a_merged_checkpoint_computes_as_its_model(base: Path, tmp_path: Path, name: str) -> None:
    method = METHODS[name]
    model = build(name, base)
    train(model, optimizer_of(model), base, range(4), rate=RATES[name])
    checkpoint = tmp_path / "checkpoint"
    checkpoint.mkdir()
    method.save(model, checkpoint, base_name="tiny")
    report = method.merge(base, checkpoint, tmp_path / "merged")
    assert report.num_tensors == 20 and report.num_merged == (20 if name == "full" else 14)
    merged = logits(load_base(tmp_path / "merged", torch.float32), base)
    reloaded = method.reload(base, checkpoint)
    want = logits(reloaded, base)
    torch.testing.assert_close(merged, want, rtol=0, atol=1e-4)
    with method.untuned(reloaded):
        assert torch.equal(logits(reloaded, base), logits(load_base(base, torch.float32), base))
    # The trained model equals it as well, except under qlora, whose base is in 4 bits.
    gap = float((logits(model, base) - want).abs().max())
    assert (gap == 0) if name != "qlora" else 1e-3 < gap < 1
    for file in ("tokenizer.model", "tokenizer_config.json", "config.json"):
        assert (tmp_path / "merged" / file).read_bytes() == (base / file).read_bytes()
