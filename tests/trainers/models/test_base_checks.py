"""A base with weights missing, doubled or pickled, or tokens without an embedding, is refused."""

import json
import os
import shutil
from pathlib import Path

import pytest
from safetensors.numpy import load_file, save_file

from datasets_src.errors import UserError
from tests.trainers.export.tiny_export import build_base, edit_json
from trainers.config.schema import Config
from trainers.models.base_checks import check_base, check_vocabulary
from trainers.models.weight_files import INDEX, MODEL_WEIGHTS, weight_bytes, weight_files
from trainers.run.base_fingerprint import describe_base


@pytest.fixture(scope="module")
def single(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_base(tmp_path_factory.mktemp("checks") / "base")


@pytest.fixture
def base(single: Path, tmp_path: Path) -> Path:
    return shutil.copytree(single, tmp_path / "base")


@pytest.fixture
def sharded(base: Path) -> Path:
    """The same weights in two shards with an index."""
    weights = load_file(base / MODEL_WEIGHTS)
    names = sorted(weights)
    shards = {"model-00001-of-00002.safetensors": names[:5]}
    shards["model-00002-of-00002.safetensors"] = names[5:]
    for shard, inside in shards.items():
        save_file({name: weights[name] for name in inside}, base / shard, {"format": "pt"})
    where = {name: shard for shard, inside in shards.items() for name in inside}
    (base / INDEX).write_text(json.dumps({"metadata": {}, "weight_map": where}))
    (base / MODEL_WEIGHTS).unlink()
    return base


def config(**export: object) -> Config:
    raw = {"run_name": "x", "data": {"train_file": "x"}, "export": export}
    return Config.model_validate(raw)


def test_whole_bases_pass(single: Path, sharded: Path) -> None:
    for base in (single, sharded):
        check_base(config(), base)
    assert [path.name for path in weight_files(single)] == [MODEL_WEIGHTS]


def test_a_missing_shard_is_named(sharded: Path) -> None:
    (sharded / "model-00002-of-00002.safetensors").unlink()
    with pytest.raises(UserError, match=r"lacks 1 of 2 weight files .* \(model-00002-of-00002"):
        check_base(config(), sharded)


def test_an_index_next_to_a_single_file_is_refused_and_the_newer_named(sharded: Path) -> None:
    shutil.copyfile(sharded / "model-00001-of-00002.safetensors", sharded / MODEL_WEIGHTS)
    os.utime(sharded / INDEX, (1, 1))
    with pytest.raises(UserError, match=rf"has both .* \({MODEL_WEIGHTS} is newer\)"):
        check_base(config(), sharded)
    os.utime(sharded / MODEL_WEIGHTS, (0, 0))
    with pytest.raises(UserError, match=rf"has both .* \({INDEX} is newer\)"):
        check_base(config(), sharded)


def test_consolidated_weights_are_neither_counted_nor_hashed(sharded: Path) -> None:
    before = weight_bytes(sharded), describe_base(sharded, known={})
    shutil.copyfile(
        sharded / "model-00001-of-00002.safetensors", sharded / "consolidated.safetensors"
    )
    check_base(config(), sharded)
    assert (weight_bytes(sharded), describe_base(sharded, known={})) == before
    assert sorted(before[1]) == ["config.json", *(path.name for path in weight_files(sharded))]


def test_pickled_weights_are_refused_with_the_conversion(base: Path) -> None:
    (base / MODEL_WEIGHTS).rename(base / "pytorch_model.bin")
    with pytest.raises(UserError, match=r"as pytorch_model.bin only, a pickle; .*save_pretrained"):
        check_base(config(), base)
    (base / "pytorch_model.bin").unlink()
    with pytest.raises(UserError, match="has neither"):
        check_base(config(), base)


def test_tokens_without_an_embedding(base: Path) -> None:
    """Refused if the template writes them or a GGUF is to be made; otherwise they are harmless."""
    size = json.loads((base / "config.json").read_text())["vocab_size"]
    edit_json(base / "config.json", vocab_size=size - 1)
    with pytest.raises(UserError, match=r"1 more \(.*\), which llama.cpp's converter refuses"):
        check_base(config(), base)
    check_base(config(gguf_types=()), base)
    check_base(config(export_best=False), base)
    edit_json(base / "config.json", vocab_size=5)  # <|im_end|> is 5
    with pytest.raises(UserError, match=r"of which the chat template writes .*<\|im_end\|>"):
        check_vocabulary(base, template="chat", makes_gguf=False)
    check_vocabulary(base, template="plain", makes_gguf=False)


def test_embeddings_with_spare_rows_pass(base: Path) -> None:
    edit_json(base / "config.json", vocab_size=10_000)
    check_base(config(), base)
