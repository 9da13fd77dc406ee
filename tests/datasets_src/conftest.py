"""Tiny model directories: a tokenizer trained on the fixture's texts, with a ChatML template."""

import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers

from trainers.models.pocket.tokenizer import CHAT_TEMPLATE, train_tokenizer

# A slow machine must not fail a property test: no time limit for one example or for drawing it.
settings.register_profile(
    "any_machine", deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("any_machine")

TEXTS = [
    f"¿Cuántas rutas {word} hay en {place}? SELECT COUNT(*) FROM rutas WHERE zona = '{place}';"
    for word in ("largas", "fáciles", "circulares", "de montaña")
    for place in ("León", "Girona", "Jaén", "la Vall d'Aran", "Cáceres")
]


@pytest.fixture(scope="session")
def chat_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sentencepiece BPE like Salamandra's: no space is prepended, ChatML."""
    folder = tmp_path_factory.mktemp("chat_model")
    train_tokenizer(folder, TEXTS, vocab_size=400)
    return folder


@pytest.fixture(scope="session")
def byte_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A byte-level BPE in which two line breaks are one token, so replies can merge with prompts.

    It has a beginning and an end of text and the same ChatML template.
    """
    folder = tmp_path_factory.mktemp("byte_model")
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    special = ["<s>", "</s>", "<|im_start|>", "<|im_end|>"]
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=[AddedToken(text, special=True) for text in special],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator([text.replace(" ", "\n\n") for text in TEXTS] + TEXTS, trainer)
    tokenizer.save(str(folder / "tokenizer.json"))
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": "<s>",
        "eos_token": "</s>",
        "chat_template": CHAT_TEMPLATE,
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(config), encoding="utf-8")
    return folder
