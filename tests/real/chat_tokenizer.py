"""A tokenizer for a published chat template: bytes, and the template's tags as special tokens.

folder = tokenizer_for(template, tmp_path)

What a template writes around a reply can be checked on any tokenizer that has its tags as special
tokens; the published one of most of these models is in no package.
"""

import json
import re
from pathlib import Path

from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers

TAG = re.compile(
    r"<[|｜][^<>{}'\"\s]{1,40}[|｜]>|<(?:end_of_sentence|end_of_turn|sep|turn\||SPECIAL_12|\|turn)>"
    r"|\[e~\[|</assistant>|<seed:eos>|<sp>"
)
# Thinking tags are tokens in these models' vocabularies, but none that is skipped as special.
TEXT = re.compile("think|thought|tool|channel>", re.IGNORECASE)


def tokenizer_for(template: str, folder: Path) -> Path:
    """A model directory without weights whose tokenizer has `template` as its chat template."""
    tags = sorted(tag for tag in {*TAG.findall(template)} if not TEXT.search(tag))
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=256 + 2 + len(tags),
        special_tokens=[AddedToken(tag, special=True) for tag in ("<s>", "</s>", *tags)],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator([""], trainer)
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": "<s>",
        "eos_token": "</s>",
        "chat_template": template,
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(config), encoding="utf-8")
    return folder
