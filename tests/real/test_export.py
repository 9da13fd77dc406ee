"""Published tokenizers pass the export's gates, and a tokenizer that really differs is refused.

Some of the kinds; `make real` runs all of them, with weights (tests/real/table.py).
"""

import json
import shutil
from pathlib import Path

import pytest

from datasets_src.chat.base_template import with_own_template
from datasets_src.errors import UserError
from tests.real.models import build_model, edit_json, resolved
from trainers.config.schema import Config
from trainers.export import trial
from trainers.export.trial import trial_gates, try_export
from trainers.models.load import load_tokenizer

# Each is a fault of its own: NFC, a BOS that begins every turn, spaces after special tokens, tokens
# in added_tokens_decoder alone, SentencePiece without a space after <s>, a template of ours.
KINDS = ("qwen3", "smollm2", "chatml-legacy-unlisted", "llama2", "falcon")


@pytest.fixture(scope="module")
def bases(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("real")


def base_of(bases: Path, kind: str) -> Path:
    """The base as a run resolves it."""
    folder = bases / kind
    return resolved(kind, folder if folder.is_dir() else build_model(kind, folder))


@pytest.mark.parametrize("kind", KINDS)
def test_a_published_tokenizer_passes_the_gates(bases: Path, kind: str) -> None:
    gates = trial_gates(base_of(bases, kind), "chat")
    assert [gate.name for gate in gates] == ["token ids", "served prompts", "stop"]
    assert [gate.detail for gate in gates if not gate.passed] == []
    normalised = "1 normalised to the tokenizer's Unicode form" in gates[0].detail
    assert normalised == (kind == "qwen3")


def test_padding_never_ends_a_reply(tmp_path: Path) -> None:
    """Qwen's own padding, <|endoftext|>, is in its generation_config.json as an end of replies."""
    base = build_model("qwen2.5", tmp_path / "base", with_weights=False)
    edit_json(base / "generation_config.json", eos_token_id=[151645, 151643])
    assert load_tokenizer(base).pad_token == "<|endoftext|>"
    found = with_own_template(base)
    assert load_tokenizer(found).pad_token == "<|vision_pad|>"
    generation = json.loads((found / "generation_config.json").read_text())
    assert generation["eos_token_id"] == [151645, 151643]
    assert generation["pad_token_id"] not in generation["eos_token_id"]
    assert with_own_template(found) == found


def test_embeddings_with_more_rows_than_tokens_change_nothing(tmp_path: Path) -> None:
    """The converter knows SmolLM2 by its vocabulary size, and sets no BOS only then."""
    base = build_model("smollm2", tmp_path / "padded", padded_vocab=64)
    assert all(gate.passed for gate in trial_gates(base, "chat"))


def test_a_dropped_added_token_is_refused(
    bases: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The converter reads added_tokens_decoder; transformers tokenizer.json."""
    base = tmp_path / "dropped"
    shutil.copytree(base_of(bases, "chatml-legacy-unlisted"), base)
    decoder = json.loads((base / "tokenizer_config.json").read_text())["added_tokens_decoder"]
    del decoder["32000"]
    edit_json(base / "tokenizer_config.json", added_tokens_decoder=decoder)
    raw = {"run_name": "x", "data": {"train_file": "x"}}
    gates = trial_gates(base, "chat")  # once, for strict and for warn
    monkeypatch.setattr(trial, "trial_gates", lambda *_: gates)
    lines: list[str] = []
    with pytest.raises(UserError, match="would fail the gate token ids after the training"):
        try_export(Config.model_validate(raw), base, say=lines.append)
    raw["export"] = {"gates": "warn"}
    try_export(Config.model_validate(raw), base, say=lines.append)
    assert any("would fail the gate token ids" in line for line in lines)


def test_another_score_file_is_refused(bases: Path, tmp_path: Path) -> None:
    """The pieces of Llama 2 with the ids of a tokenizer.json of which two are exchanged."""
    base = tmp_path / "swapped"
    shutil.copytree(base_of(bases, "llama2"), base)
    path = base / "tokenizer.json"
    fast = json.loads(path.read_text(encoding="utf-8"))
    vocab = fast["model"]["vocab"]
    vocab["▁hay"], vocab["▁en"] = vocab["▁en"], vocab["▁hay"]
    path.write_text(json.dumps(fast, ensure_ascii=False), encoding="utf-8")
    ids, served, stop = trial_gates(base, "chat")
    assert not ids.passed and not served.passed and stop.passed
    assert "differs at token" in ids.detail
