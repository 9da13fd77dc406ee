"""A base is looked over before anything is prepared. Imports no torch.

check_base(config, model_dir)
"""

import json
from pathlib import Path

from datasets_src.chat.tokenise import auto_tokenizer
from datasets_src.errors import UserError
from trainers.config.schema import Config
from trainers.models.resolve import attention_of
from trainers.models.weight_files import KEY, check_weights

SHOWN = 3


def check_base(config: Config, model_dir: Path) -> None:
    """Refuse a base that cannot be trained, or not exported as the config asks.

    Raises:
        UserError: an unsupported family or setting, weights that are not there, tokens without an
            embedding.
    """
    attention_of(model_dir)
    check_weights(model_dir)
    makes_gguf = config.export.export_best and bool(config.export.gguf_types)
    check_vocabulary(model_dir, template=config.data.template, makes_gguf=makes_gguf)


def check_vocabulary(model_dir: Path, *, template: str, makes_gguf: bool) -> None:
    """Refuse tokens whose id is outside the embeddings, if the chat template or a GGUF needs them.

    Raises:
        UserError: names the tokens and the size of the embeddings.
    """
    config = json.loads((model_dir / "config.json").read_text(encoding="utf-8"))
    size = int(config["vocab_size"])
    tokenizer = auto_tokenizer(model_dir)
    surplus = {token: id for token, id in tokenizer.get_vocab().items() if id >= size}
    if not surplus:
        return
    text = tokenizer.get_chat_template() if template == "chat" and tokenizer.chat_template else ""
    used = [token for token in surplus if token in text]
    shown = ", ".join(sorted(used or surplus, key=surplus.__getitem__)[:SHOWN])
    what = f"{KEY}: {model_dir} has embeddings for {size:,} tokens (vocab_size), and its tokenizer"
    if used:
        raise UserError(
            f"{what} has {len(surplus)} more, of which the chat template writes {shown}; resize "
            "the embeddings (model.resize_token_embeddings) and save the base, or set another "
            "model.chat_template"
        )
    if makes_gguf:
        raise UserError(
            f"{what} has {len(surplus)} more ({shown}), which llama.cpp's converter refuses; "
            "resize the embeddings (model.resize_token_embeddings) and save the base, remove the "
            "tokens from its tokenizer, or set gguf_types=[]"
        )
