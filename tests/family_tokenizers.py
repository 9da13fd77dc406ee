"""Tokenizers of each family's kind, trained on the spot, with the family's special tokens.

build_tokenizer("llama2", folder)     sentencepiece with a space put first, <unk> <s> </s> only
build_tokenizer("qwen", folder)       byte-level BPE, whose stop as a base is <|endoftext|>
"""

import io
import json
from pathlib import Path
from typing import Any

import sentencepiece
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers

from trainers.models.pocket.tokenizer import train_tokenizer

TEXTS = [
    f"User: ¿Cuántas rutas {word} hay en {place}? Assistant: SELECT COUNT(*) FROM rutas WHERE "
    f"zona = '{place}'; [INST] Doce [/INST]"
    for word in ("largas", "fáciles", "circulares", "de montaña")
    for place in ("León", "Girona", "Jaén", "la Vall d'Aran", "Cáceres")
]
# What a base's tokenizer has, in the order of its ids; the first is its end as a base.
BYTE_LEVEL = {
    "qwen": ("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|fim_pad|>"),
    "llama3": (
        *("<|end_of_text|>", "<|begin_of_text|>", "<|finetune_right_pad_id|>"),
        *("<|start_header_id|>", "<|end_header_id|>", "<|eom_id|>", "<|eot_id|>"),
    ),
    "falcon": ("<|endoftext|>", ">>TITLE<<", ">>PREFIX<<", ">>SUFFIX<<"),
}


def build_tokenizer(family: str, folder: Path) -> Path:
    """A base's tokenizer, which has no chat template, in `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    if family == "salamandra":
        train_tokenizer(folder, TEXTS * 4, vocab_size=420)
        _edit(folder, chat_template=None, eos_token="</s>", pad_token=None)
    elif family in BYTE_LEVEL:
        _byte_level(folder, BYTE_LEVEL[family])
    else:
        _sentencepiece(folder)
    return folder


def _sentencepiece(folder: Path) -> None:
    """As of Llama 2 and Mistral 7B: tokenizer.model alone, a space before the first word."""
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(TEXTS * 4),
        model_writer=model,
        model_type="bpe",
        vocab_size=420,
        byte_fallback=True,
        character_coverage=1.0,
        normalization_rule_name="identity",
        remove_extra_whitespaces=False,
        num_threads=1,
        minloglevel=2,
    )
    (folder / "tokenizer.model").write_bytes(model.getvalue())
    named = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
    _edit(folder, tokenizer_class="LlamaTokenizer", legacy=True, add_bos_token=True, **named)


def _byte_level(folder: Path, special: tuple[str, ...]) -> None:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=420,
        special_tokens=[AddedToken(text, special=True, normalized=False) for text in special],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(TEXTS, trainer)
    tokenizer.save(str(folder / "tokenizer.json"))
    _edit(folder, tokenizer_class="PreTrainedTokenizerFast", eos_token=special[0])


def _edit(folder: Path, **values: Any) -> None:
    path = folder / "tokenizer_config.json"
    old = json.loads(path.read_text("utf-8")) if path.is_file() else {}
    kept = {key: value for key, value in (old | values).items() if value is not None}
    path.write_text(json.dumps(kept), encoding="utf-8")
