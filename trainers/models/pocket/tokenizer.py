"""The tokenizer of the pocket model: sentencepiece BPE with byte fallback, saved as Salamandra's.

    pocket/tokenizer.model            for sentencepiece and llama.cpp's converter
    pocket/tokenizer.json             the same pieces and merges for transformers
    pocket/tokenizer_config.json      special tokens, ChatML template, no space before a text

ids 0-5: <unk> <s> </s> <pad> <|im_start|> <|im_end|>; the end-of-turn token is the eos token.
"""

import io
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import sentencepiece
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

SPECIAL_TOKENS = ("<unk>", "<s>", "</s>", "<pad>", "<|im_start|>", "<|im_end|>")
BOS_ID, PAD_ID, EOS_ID = 1, 3, 5
MAX_LENGTH = 8192
CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>\\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)


def train_tokenizer(out: Path, texts: Iterable[str], *, vocab_size: int) -> None:
    """Write the three tokenizer files into `out`; the same texts give the same bytes."""
    model = _train_sentencepiece(texts, vocab_size)
    (out / "tokenizer.model").write_bytes(model)
    _fast_tokenizer(model).save(str(out / "tokenizer.json"))
    config = json.dumps(_config(), ensure_ascii=False, indent=2)
    (out / "tokenizer_config.json").write_text(config + "\n", encoding="utf-8")


def _train_sentencepiece(texts: Iterable[str], vocab_size: int) -> bytes:
    lines = (line for text in texts for line in text.splitlines() if line)
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=lines,
        model_writer=model,
        model_type="bpe",
        vocab_size=vocab_size,
        byte_fallback=True,
        character_coverage=1.0,
        # Text is tokenised verbatim, without normalisation or a leading space, so that a turn has
        # the same ids after <|im_start|>user\n in sentencepiece, transformers and llama.cpp.
        normalization_rule_name="identity",
        add_dummy_prefix=False,
        remove_extra_whitespaces=False,
        pad_id=PAD_ID,
        pad_piece=SPECIAL_TOKENS[PAD_ID],
        control_symbols=list(SPECIAL_TOKENS[4:]),
        num_threads=1,
        minloglevel=2,
    )
    return model.getvalue()


def _fast_tokenizer(model: bytes) -> Tokenizer:
    """The same BPE for transformers: a merge per way to split a piece, best score first."""
    processor = sentencepiece.SentencePieceProcessor(model_proto=model)
    pieces = [processor.id_to_piece(i) for i in range(processor.vocab_size())]
    vocab = {piece: i for i, piece in enumerate(pieces)}
    first_merge = len(SPECIAL_TOKENS) + 256  # special and byte tokens result from no merge
    merges = [
        (piece[:cut], piece[cut:])
        for piece in pieces[first_merge:]
        for cut in range(1, len(piece))
        if piece[:cut] in vocab and piece[cut:] in vocab
    ]
    tokenizer = Tokenizer(
        models.BPE(vocab=vocab, merges=merges, unk_token="<unk>", fuse_unk=True, byte_fallback=True)
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="never", split=False)
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
    )
    tokenizer.add_special_tokens([AddedToken(t, normalized=False) for t in SPECIAL_TOKENS])
    return tokenizer


def _config() -> dict[str, Any]:
    flags = {"lstrip": False, "normalized": False, "rstrip": False, "single_word": False}
    return {
        "tokenizer_class": "LlamaTokenizer",
        "legacy": False,
        "add_prefix_space": False,  # else llama.cpp puts a space after every special token
        "add_bos_token": False,
        "add_eos_token": False,
        "clean_up_tokenization_spaces": False,
        "model_max_length": MAX_LENGTH,
        "padding_side": "left",
        "unk_token": "<unk>",
        "bos_token": "<s>",
        "eos_token": SPECIAL_TOKENS[EOS_ID],
        "pad_token": SPECIAL_TOKENS[PAD_ID],
        "extra_special_tokens": ["<|im_start|>"],
        "added_tokens_decoder": {
            str(i): {"content": token, **flags, "special": True}
            for i, token in enumerate(SPECIAL_TOKENS)
        },
        "chat_template": CHAT_TEMPLATE,
    }
