"""Full fine-tuning: float32 master weights; a checkpoint exported in its base's format."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn
from transformers import AutoModelForCausalLM, PreTrainedModel

from datasets_src.errors import UserError
from tests.trainers.export.tiny_export import build_base
from tests.trainers.methods.tiny_train import num_targets, optimizer_of, rows, train
from trainers.config.schema import FullMethod, TrainConfig
from trainers.methods import full
from trainers.methods.merge_full import merge_full
from trainers.models.load import load_base
from trainers.step.optimizer import MasterAdamW, make_optimizer
from trainers.step.packing import pack
from trainers.step.train_step import DataParallelEngine, loss_part, train_step


def full_model(base: Path, dtype: torch.dtype) -> PreTrainedModel:
    return full.build(base, FullMethod(), dtype=dtype, seed=0, device="cpu")


def test_weights_equal_a_rounded_float32_reference(tmp_path: Path) -> None:
    """Three steps with a learning rate too small for bfloat16: only masters can change."""
    base = build_base(tmp_path / "base", tied=False)
    model = full_model(base, torch.bfloat16)
    reference = full_model(base, torch.bfloat16)
    masters = [nn.Parameter(p.detach().float()) for p in reference.parameters()]
    optimizer = optimizer_of(model)
    adamw = torch.optim.AdamW(masters, fused=True, lr=1e-5, weight_decay=0.01)
    assert isinstance(optimizer, MasterAdamW)
    examples = rows(base)
    parts = [pack(examples[:5], min_share=4), pack(examples[5:], min_share=4)]
    for step in range(3):
        train_step(
            DataParallelEngine(model, optimizer, max_grad_norm=1.0),
            enumerate(parts),
            num_targets=num_targets(examples),
            learning_rate=1e-5,
            seed=(0, step),
        )
        for master in masters:
            master.grad = torch.zeros_like(master)
        for part in parts:
            loss_part(reference, part, num_targets=num_targets(examples)).backward()
            for master, p in zip(masters, reference.parameters(), strict=True):
                assert master.grad is not None and p.grad is not None
                master.grad += p.grad.float()
                p.grad = None
        nn.utils.clip_grad_norm_(masters, 1.0)
        adamw.step()
        for master, p in zip(masters, reference.parameters(), strict=True):
            p.data.copy_(master)
    start = load_base(base, torch.bfloat16)
    moved = 0
    for got, want, old, master in zip(
        *(m.parameters() for m in (model, reference, start)), masters, strict=True
    ):
        assert torch.equal(got, want) and got.dtype == torch.bfloat16
        assert torch.equal(optimizer.state[got]["master"], master)
        moved += int((got != old).sum())
    assert moved > 1000


def test_gradients_accumulate_in_float32_and_a_worker_may_have_none(base: Path) -> None:
    model = full_model(base, torch.bfloat16)
    optimizer = optimizer_of(model)
    some = rows(base)[:2]
    for _ in range(2):
        loss_part(model, pack(some, min_share=4), num_targets=num_targets(some)).backward()
    assert {p.grad.dtype for p in model.parameters() if p.grad is not None} == {torch.float32}
    optimizer.zero_grad()
    train_step(
        DataParallelEngine(model, optimizer, max_grad_norm=1.0),
        [],
        num_targets=5,
        learning_rate=1e-3,
        seed=(0, 0),
    )
    assert all(p.grad is None for p in model.parameters())


def test_float32_weights_are_their_own_masters(base: Path) -> None:
    optimizer = make_optimizer(full_model(base, torch.float32), TrainConfig())
    assert type(optimizer) is torch.optim.AdamW


@pytest.mark.parametrize("trained", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("stored", [torch.float32, torch.bfloat16, torch.float16])
def test_an_export_is_the_checkpoint_in_the_bases_format(
    tmp_path: Path, stored: torch.dtype, trained: torch.dtype
) -> None:
    whole = build_base(tmp_path / "whole", tied=True, dtype=stored)
    base = tmp_path / "base"
    model = AutoModelForCausalLM.from_pretrained(whole, dtype=stored)
    model.save_pretrained(base, max_shard_size="90KB")
    for name in ("tokenizer.model", "tokenizer.json", "tokenizer_config.json"):
        (base / name).write_bytes((whole / name).read_bytes())
    tuned = full_model(base, trained)
    train(tuned, optimizer_of(tuned), base, range(2), rate=1e-3)
    checkpoint = tmp_path / "checkpoint"
    checkpoint.mkdir()
    full.save(tuned, checkpoint, base_name="tiny")
    report = merge_full(base, checkpoint, tmp_path / "merged")
    assert report.dtype == stored and report.num_merged == report.num_tensors == 20
    assert len(list(base.glob("*.safetensors"))) >= 2
    assert {p.name for p in (tmp_path / "merged").iterdir()} == {p.name for p in base.iterdir()}
    merged = AutoModelForCausalLM.from_pretrained(tmp_path / "merged", dtype=stored)
    old = AutoModelForCausalLM.from_pretrained(base, dtype=stored)
    for got, want, before in zip(*(m.parameters() for m in (merged, tuned, old)), strict=True):
        assert torch.equal(got, want.to(stored)) and not torch.equal(got, before)
    for path in base.iterdir():
        if path.suffix != ".safetensors":
            assert (tmp_path / "merged" / path.name).read_bytes() == path.read_bytes()


def test_a_tied_head_in_the_bases_file_follows_the_embedding(tmp_path: Path) -> None:
    base = build_base(tmp_path / "base")
    tensors = load_file(base / "model.safetensors")
    head = tensors["model.embed_tokens.weight"].clone()
    save_file(tensors | {"lm_head.weight": head}, base / "model.safetensors", {"format": "pt"})
    tuned = full_model(base, torch.float32)
    train(tuned, optimizer_of(tuned), base, range(2), rate=1e-3)
    (tmp_path / "checkpoint").mkdir()
    full.save(tuned, tmp_path / "checkpoint", base_name="tiny")
    merge_full(base, tmp_path / "checkpoint", tmp_path / "merged")
    got = load_file(tmp_path / "merged" / "model.safetensors")
    assert torch.equal(got["lm_head.weight"], got["model.embed_tokens.weight"])
    assert not torch.equal(got["lm_head.weight"], head)


def test_a_checkpoint_of_another_base_is_refused(base: Path, tmp_path: Path) -> None:
    model = full_model(base, torch.float32)
    full.save(model, tmp_path, base_name="tiny")
    file = tmp_path / "model.safetensors"
    good = load_file(file)
    for changed, words in (
        ({k.replace("layers.1", "layers.9"): v for k, v in good.items()}, r"layers\.9"),
        ({k: v[:-1] for k, v in good.items()}, "in the base and"),
        ({k: v * float("nan") for k, v in good.items()}, "not finite"),
    ):
        save_file({k: v.contiguous() for k, v in changed.items()}, file)
        with pytest.raises(UserError, match=words):
            merge_full(base, tmp_path, tmp_path / "merged")
    assert not (tmp_path / "merged").exists()
    assert json.loads((tmp_path / "config.json").read_text())["model_type"] == "llama"
