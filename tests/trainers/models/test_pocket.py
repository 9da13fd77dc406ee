"""The pocket model: reproducible bytes, and the same tokenization in every reader."""

import json
from pathlib import Path

import pytest
import sentencepiece
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedTokenizerBase

from trainers.models.pocket import corpus as pocket_corpus
from trainers.models.pocket import model as pocket
from trainers.models.pocket.tokenizer import SPECIAL_TOKENS

NUM_STEPS = 3


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pocket")
    pocket.build_pocket(folder, steps=NUM_STEPS)
    return folder


@pytest.fixture(scope="module")
def tokenizer(built: Path) -> PreTrainedTokenizerBase:
    return AutoTokenizer.from_pretrained(built)


@pytest.fixture(scope="module")
def processor(built: Path) -> sentencepiece.SentencePieceProcessor:
    return sentencepiece.SentencePieceProcessor(model_file=str(built / "tokenizer.model"))


def test_the_same_seed_gives_the_same_bytes(built: Path, tmp_path: Path) -> None:
    before = torch.get_num_threads(), torch.initial_seed()
    pocket.build_pocket(tmp_path, steps=NUM_STEPS)
    assert (torch.get_num_threads(), torch.initial_seed()) == before
    names = sorted(path.name for path in built.iterdir())
    assert {"config.json", "model.safetensors", "tokenizer.model", "tokenizer.json"} <= set(names)
    assert names == sorted(path.name for path in tmp_path.iterdir())
    for name in names:
        assert (built / name).read_bytes() == (tmp_path / name).read_bytes(), name


def test_another_seed_gives_other_weights(built: Path, tmp_path: Path) -> None:
    pocket.build_pocket(tmp_path, steps=1, seed=1)
    weights = [(folder / "model.safetensors").read_bytes() for folder in (built, tmp_path)]
    assert len(weights[0]) == len(weights[1]) and weights[0] != weights[1]


def test_size(built: Path) -> None:
    model = AutoModelForCausalLM.from_pretrained(built)
    assert 1_000_000 <= model.num_parameters() <= 3_000_000
    assert model.config.max_position_embeddings >= 4096
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
    assert model.generation_config.eos_token_id == 5


def test_sharing_the_schema_does_not_change_the_loss(
    tokenizer: PreTrainedTokenizerBase,
) -> None:
    torch.manual_seed(0)
    model = pocket.LlamaForCausalLM(pocket.model_config()).double()
    texts = pocket._dialogues(tokenizer, pocket.Random(0), count=5)
    schema = tokenizer(f"<|im_start|>user\n{pocket_corpus.SCHEMA.strip()}").input_ids
    shared, plain = pocket._loss(model, schema, texts), pocket._loss(model, [], texts)
    torch.testing.assert_close(shared, plain, rtol=1e-7, atol=0)


def test_special_tokens_are_single_and_stop_is_not_pad(tokenizer: PreTrainedTokenizerBase) -> None:
    for i, token in enumerate(SPECIAL_TOKENS):
        assert tokenizer(token).input_ids == [i]
    assert tokenizer.eos_token == "<|im_end|>" and tokenizer.pad_token == "<pad>"


def test_chat_template_is_chatml(tokenizer: PreTrainedTokenizerBase) -> None:
    turns = [{"role": "user", "content": "¿Qué?"}, {"role": "assistant", "content": "SELECT 1"}]
    text = tokenizer.apply_chat_template(turns[:1], tokenize=False, add_generation_prompt=True)
    assert text == "<|im_start|>user\n¿Qué?<|im_end|>\n<|im_start|>assistant\n"
    text = tokenizer.apply_chat_template(turns, tokenize=False)
    assert str(text).endswith("<|im_start|>assistant\nSELECT 1<|im_end|>\n")


@given(text=st.text(st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="▁")))
def test_any_text_round_trips_and_both_readers_agree(
    tokenizer: PreTrainedTokenizerBase,
    processor: sentencepiece.SentencePieceProcessor,
    text: str,
) -> None:
    ids = tokenizer(text).input_ids
    if not any(token in text for token in SPECIAL_TOKENS):
        assert tokenizer.decode(ids) == text
        assert processor.encode(text) == ids


def test_shipped_text_has_the_same_ids_in_both_readers(
    tokenizer: PreTrainedTokenizerBase, processor: sentencepiece.SentencePieceProcessor
) -> None:
    rows = pocket_corpus.shipped_rows()
    texts = [pocket_corpus.SCHEMA, *(row[key] for row in rows for key in ("question", "sql"))]
    assert tokenizer(texts).input_ids == processor.encode(texts)
    assert max(len(ids) for ids in processor.encode([row["sql"] for row in rows])) <= 60
    assert len(processor.encode(pocket_corpus.SCHEMA)) <= 120


def test_validation_rows_are_not_trained_on() -> None:
    held_out = [row for row in pocket_corpus.shipped_rows() if row["split"] == "validation"]
    requests = pocket_corpus.known_requests(pocket.Random(0), count=3000)
    assert len({sql for _, sql in requests}) > 400
    assert not {row["question"] for row in held_out} & {question for question, _ in requests}
    answered = {row["sql"] for row in held_out if row["sql"] != "SELECT NULL"}
    assert not answered & {sql for _, sql in requests}


def test_pocket_dir_builds_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(pocket, "NUM_STEPS", NUM_STEPS)
    first = pocket.pocket_dir()
    assert "building the pocket model" in capfd.readouterr().err
    assert json.loads((first / "config.json").read_text())["model_type"] == "llama"
    stamp = (first / "model.safetensors").stat().st_mtime_ns
    assert pocket.pocket_dir() == first and first.parent == tmp_path / "gallipato"
    assert (first / "model.safetensors").stat().st_mtime_ns == stamp
    assert "building" not in capfd.readouterr().err
    assert not list(first.parent.glob(".*.part"))
