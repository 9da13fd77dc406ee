"""The streaming merge is bit-equal to PEFT's, atomic, and refuses unsupported adapters."""

from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from peft import PeftModel
from peft.utils.other import get_pattern_key
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from datasets_src.errors import UserError
from tests.trainers.export.tiny_export import TARGETS, build_adapter, build_base, edit_json
from trainers.methods.merge_adapter import _by_pattern, merge_adapter


def peft_merge(base: Path, adapter: Path, dtype: torch.dtype) -> dict[str, torch.Tensor]:
    model = AutoModelForCausalLM.from_pretrained(base, dtype=dtype)
    merged: torch.nn.Module = PeftModel.from_pretrained(model, adapter).merge_and_unload()
    return merged.state_dict()


def read_all(folder: Path) -> dict[str, torch.Tensor]:
    return {k: v for f in folder.glob("*.safetensors") for k, v in load_file(f).items()}


@pytest.mark.parametrize("use_dora", [False, True])
@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_merge_is_bit_equal_to_peft(
    tmp_path: Path, tied: bool, dtype: torch.dtype, use_dora: bool
) -> None:
    base = build_base(tmp_path / "base", tied=tied, dtype=dtype)
    adapter = build_adapter(base, tmp_path / "adapter", steps=0, use_dora=use_dora)
    report = merge_adapter(base, adapter, tmp_path / "merged")
    want, got = peft_merge(base, adapter, dtype), read_all(tmp_path / "merged")
    assert report.num_merged == 14 and report.dtype == dtype
    assert set(want) - set(got) == ({"lm_head.weight"} if tied else set())
    for name, tensor in got.items():
        assert tensor.dtype == dtype and torch.equal(tensor, want[name]), name
    changed = read_all(base)
    assert sum(not torch.equal(changed[k], got[k]) for k in got) == 14
    # Size and header are the base's.
    size = [(f / "model.safetensors").stat().st_size for f in (base, tmp_path / "merged")]
    assert size[0] == size[1]


@pytest.mark.parametrize(
    "options",
    [
        {"use_rslora": True},
        {"rank_pattern": {"q_proj": 2, r"layers\.1\.mlp\.up_proj": 8}},
        {"alpha_pattern": {"down_proj": 64, "model.layers.0.self_attn.v_proj": 1}},
        {"target_modules": ["lm_head", "q_proj"]},
        {"use_dora": True, "use_rslora": True, "alpha_pattern": {"down_proj": 64}},
    ],
    ids=["rslora", "rank_pattern", "alpha_pattern", "lm_head", "dora"],
)
def test_variants_of_lora_are_bit_equal(tmp_path: Path, options: dict[str, object]) -> None:
    base = build_base(tmp_path / "base", tied=False, dtype=torch.bfloat16)
    adapter = build_adapter(base, tmp_path / "adapter", steps=0, **options)
    merge_adapter(base, adapter, tmp_path / "merged")
    want = peft_merge(base, adapter, torch.bfloat16)
    for name, tensor in read_all(tmp_path / "merged").items():
        assert torch.equal(tensor, want[name]), name


def test_half_precision_adapter_is_read_as_float32(tmp_path: Path) -> None:
    base = build_base(tmp_path / "base")
    adapter = build_adapter(base, tmp_path / "adapter", steps=0)
    file = adapter / "adapter_model.safetensors"
    save_file({k: v.bfloat16() for k, v in load_file(file).items()}, file)
    merge_adapter(base, adapter, tmp_path / "merged")
    want = peft_merge(base, adapter, torch.float32)
    for name, tensor in read_all(tmp_path / "merged").items():
        assert torch.equal(tensor, want[name]), name


def test_sharded_base_keeps_its_shards_and_other_files(tmp_path: Path) -> None:
    whole = build_base(tmp_path / "whole", tied=False)
    base = tmp_path / "base"
    model = AutoModelForCausalLM.from_pretrained(whole, dtype=torch.float32)
    model.save_pretrained(base, max_shard_size="150KB")
    for name in ("tokenizer.model", "tokenizer.json", "tokenizer_config.json"):
        (base / name).write_bytes((whole / name).read_bytes())
    adapter = build_adapter(base, tmp_path / "adapter", steps=0)
    (tmp_path / "merged").mkdir()
    (tmp_path / "merged" / "stale.safetensors").write_bytes(b"old")
    merge_adapter(base, adapter, tmp_path / "merged")
    assert len(list(base.glob("*.safetensors"))) >= 3
    names = {path.name for path in base.iterdir()}
    assert {path.name for path in (tmp_path / "merged").iterdir()} == names
    want = peft_merge(base, adapter, torch.float32)
    for name, tensor in read_all(tmp_path / "merged").items():
        assert torch.equal(tensor, want[name]), name
    for name in names - {path.name for path in base.glob("*.safetensors")}:
        assert (tmp_path / "merged" / name).read_bytes() == (base / name).read_bytes()
    assert [p.name for p in tmp_path.iterdir() if p.name.startswith(".")] == []


@pytest.mark.parametrize(
    ("values", "named"),
    [
        ({"use_dora": True}, "use_dora"),
        ({"bias": "all"}, "bias"),
        ({"modules_to_save": ["lm_head"]}, "modules_to_save"),
        ({"init_lora_weights": "pissa"}, "init_lora_weights"),
        ({"key_of_a_later_peft": 3}, "key_of_a_later_peft"),
        ({"peft_type": "LOHA"}, "peft_type"),
        ({"r": 3}, "rank 4"),
    ],
)
def test_unsupported_adapters_are_refused_by_name(
    tmp_path: Path, values: dict[str, object], named: str
) -> None:
    base = build_base(tmp_path / "base")
    adapter = build_adapter(base, tmp_path / "adapter", steps=0)
    edit_json(adapter / "adapter_config.json", **values)
    with pytest.raises(UserError, match=named):
        merge_adapter(base, adapter, tmp_path / "merged")
    assert not (tmp_path / "merged").exists()


def test_adapters_of_another_base_are_refused(tmp_path: Path) -> None:
    base = build_base(tmp_path / "base")
    adapter = build_adapter(base, tmp_path / "adapter", steps=0)
    file = adapter / "adapter_model.safetensors"
    good = load_file(file)
    save_file({k.replace("layers.1", "layers.9"): v for k, v in good.items()}, file)
    with pytest.raises(UserError, match=r"layers\.9"):
        merge_adapter(base, adapter, tmp_path / "merged")
    save_file({k: v[:, :-1].contiguous() if "lora_A" in k else v for k, v in good.items()}, file)
    with pytest.raises(UserError, match="in the base and"):
        merge_adapter(base, adapter, tmp_path / "merged")
    save_file({k: v * float("nan") for k, v in good.items()}, file)
    with pytest.raises(UserError, match="not finite"):
        merge_adapter(base, adapter, tmp_path / "merged")
    assert not (tmp_path / "merged").exists()


def test_adapter_on_tied_embeddings_is_refused(tmp_path: Path) -> None:
    base = build_base(tmp_path / "base", tied=True)
    adapter = build_adapter(base, tmp_path / "adapter", steps=0, target_modules=["lm_head"])
    with pytest.raises(UserError, match="tied"):
        merge_adapter(base, adapter, tmp_path / "merged")


def test_base_without_safetensors_is_refused(tmp_path: Path) -> None:
    base = build_base(tmp_path / "base")
    adapter = build_adapter(base, tmp_path / "adapter", steps=0)
    (base / "model.safetensors").rename(base / "pytorch_model.bin")
    with pytest.raises(UserError, match="save them as safetensors first"):
        merge_adapter(base, adapter, tmp_path / "merged")


MODULES = st.sampled_from(["model.layers.0.self_attn.q_proj", "model.layers.11.mlp.up_proj", "q"])


@given(MODULES, st.lists(st.sampled_from([*TARGETS, r"layers\.1\d?\.mlp\.\w+", "q", "oj"])))
def test_patterns_match_as_in_peft(module: str, patterns: list[str]) -> None:
    given_ = {pattern: index for index, pattern in enumerate(patterns)}
    assert _by_pattern(given_, module, -1) == given_.get(get_pattern_key(list(given_), module), -1)


def test_merged_file_is_a_readable_safetensors(tmp_path: Path) -> None:
    base = build_base(tmp_path / "base")
    adapter = build_adapter(base, tmp_path / "adapter", steps=0)
    report = merge_adapter(base, adapter, tmp_path / "merged")
    with safe_open(tmp_path / "merged" / "model.safetensors", framework="pt") as file:
        assert len(list(file.keys())) == report.num_tensors == 20
        assert file.metadata() == {"format": "pt"}
