"""Where a base model lies and whether it can be trained, from its files alone: no torch.

model_dir = resolve_base(config); attention_of(model_dir)
"""

import json
from pathlib import Path

from datasets_src.chat.base_template import with_chat_template, with_turn_stop
from datasets_src.errors import UserError
from trainers.config.schema import Config

POCKET = "pocket"
# Salamandra is a Llama. Falcon's layers do not go through transformers' attention interface.
FAMILIES = {"llama": "tree", "mistral": "tree", "qwen2": "tree", "qwen3": "tree", "falcon": "sdpa"}


def resolve_base(config: Config) -> Path:
    """Local directory of a config's base, with the chat template and the stop that it is given.

    Raises:
        UserError: as `resolve_model`; a chat template that the tokenizer cannot write.
    """
    found = resolve_model(config.model.model_name_or_path, config.model.model_revision)
    if config.model.chat_template is not None:
        return with_chat_template(found, config.model.chat_template)
    return with_turn_stop(found) if config.data.template == "chat" else found


def resolve_model(name_or_path: str, revision: str | None = None) -> Path:
    """Local directory of a base model: `pocket` is built, a Hub id is fetched into the Hub cache.

    Raises:
        UserError: no such directory, or the Hub does not have it, or cannot be reached.
    """
    if name_or_path == POCKET:
        from trainers.models.pocket.model import pocket_dir

        return pocket_dir()
    path = Path(name_or_path).expanduser()
    if path.is_dir():
        if not (path / "config.json").is_file():
            raise UserError(
                f"model.model_name_or_path: {path} holds no config.json; "
                "name the directory of a Hugging Face model"
            )
        return path.resolve()
    if name_or_path.startswith(("/", ".", "~")) or name_or_path.count("/") != 1:
        raise UserError(
            f"model.model_name_or_path: {name_or_path!r} is neither a local directory nor a Hub "
            "id; give a directory, owner/name, or pocket"
        )
    return _fetch(name_or_path, revision)


def _fetch(repo_id: str, revision: str | None) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    patterns = ["*.json", "*.safetensors", "*.model", "*.txt", "*.jinja"]
    try:
        return Path(snapshot_download(repo_id, revision=revision, allow_patterns=patterns))
    except HFValidationError as error:
        raise UserError(
            f"model.model_name_or_path: {repo_id!r} is neither a local directory nor a Hub id "
            f"({error})"
        ) from None
    except LocalEntryNotFoundError:
        raise UserError(
            f"model.model_name_or_path: {repo_id} is not in the Hub cache and the Hub cannot be "
            "reached (offline?); download it where there is a network, or give a local directory"
        ) from None
    except HfHubHTTPError as error:
        status = error.response.status_code
        raise UserError(
            f"model.model_name_or_path: the Hub answered {status} for {repo_id}"
            f" (revision {revision or 'main'}); check the name, or set HF_TOKEN if it is private"
        ) from None


def attention_of(model_dir: Path) -> str:
    """The attention in which a family is trained: "tree", or "sdpa" with the tree as a mask.

    Raises:
        UserError: the family or a setting of it is not supported.
    """
    config = json.loads((model_dir / "config.json").read_text(encoding="utf-8"))
    family = config.get("model_type")
    if family not in FAMILIES:
        raise UserError(
            f"model.model_name_or_path: {model_dir} is of the family {family!r}, which is not "
            f"supported; supported: {', '.join(FAMILIES)}"
        )
    if config.get("quantization_config"):
        raise UserError(
            f"model.model_name_or_path: {model_dir} is quantised already, which can be neither "
            "merged nor trained further; give the original base (method_type=qlora quantises it)"
        )
    for key in ("attention_dropout", "hidden_dropout", "alibi"):
        if config.get(key):
            raise UserError(
                f"model.model_name_or_path: {model_dir}/config.json sets {key}: {config[key]}, "
                "which shared prefixes do not support; choose a base without it"
            )
    rope = config.get("rope_parameters") or config.get("rope_scaling") or {}
    kind = rope.get("rope_type") or rope.get("type")
    if kind in ("dynamic", "longrope"):
        raise UserError(
            f"model.model_name_or_path: {model_dir}/config.json sets rope_type: {kind}, whose "
            "rotation depends on the length of the row, so that rows cannot share a prefix; "
            "choose a base with another"
        )
    return FAMILIES[family]


def context_length(model_dir: Path) -> int:
    """Positions the model was built for (`max_position_embeddings`), in tokens."""
    config = json.loads((model_dir / "config.json").read_text(encoding="utf-8"))
    return int(config.get("max_position_embeddings", 2**31))
