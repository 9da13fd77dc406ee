"""Resolve a base model to a local directory, and check that it can be trained. Imports no torch.

model_dir = resolve_base(config); attention_of(model_dir)
"""

import json
from pathlib import Path

from datasets_src.chat.base_template import with_chat_template, with_own_template
from datasets_src.errors import UserError
from trainers.config.schema import Config

POCKET = "pocket"
# Model family -> attention. Salamandra is a Llama. Falcon's layers bypass transformers' attention
# interface.
FAMILIES = {"llama": "tree", "mistral": "tree", "qwen2": "tree", "qwen3": "tree", "falcon": "sdpa"}


def resolve_base(config: Config) -> Path:
    """Local directory of the config's base, with the config's chat template and its stop token.

    A base's own template has thinking and the date fixed (chat/pinned.py).

    Raises:
        UserError: as `resolve_model`, or the tokenizer lacks special tokens of the chat template.
    """
    found = resolve_model(config.model.model_name_or_path, config.model.model_revision)
    if config.model.chat_template is not None:
        return with_chat_template(found, config.model.chat_template)
    if config.data.template == "plain":
        return found
    return with_own_template(found, enable_thinking=config.model.enable_thinking)


def resolve_model(name_or_path: str, revision: str | None = None) -> Path:
    """Local directory of a base model; `pocket` is built, a Hub id downloaded to the Hub cache.

    Raises:
        UserError: not a model directory, not on the Hub, or the Hub cannot be reached.
    """
    if name_or_path == POCKET:
        from trainers.models.pocket.model import pocket_dir

        return pocket_dir()
    path = Path(name_or_path).expanduser()
    if path.is_dir():
        if not (path / "config.json").is_file():
            raise UserError(
                f"model.model_name_or_path: {path} has no config.json; "
                "give the directory of a Hugging Face model"
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

    patterns = ["*.json", "model*.safetensors", "*.model", "*.txt", "*.jinja"]
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
    """The attention implementation of a model: "tree", or "sdpa" with the prefix trie as a mask.

    Raises:
        UserError: the model family or one of its settings is not supported.
    """
    config = json.loads((model_dir / "config.json").read_text(encoding="utf-8"))
    family = config.get("model_type")
    if family not in FAMILIES:
        raise UserError(
            f"model.model_name_or_path: {model_dir}: unsupported model family {family!r}; "
            f"supported: {', '.join(FAMILIES)}"
        )
    if config.get("quantization_config"):
        raise UserError(
            f"model.model_name_or_path: {model_dir} is quantised already and can be neither merged "
            "nor trained further; give the original base (method_type=qlora quantises it)"
        )
    for key in ("attention_dropout", "hidden_dropout", "alibi"):
        if config.get(key):
            raise UserError(
                f"model.model_name_or_path: {model_dir}/config.json sets {key}: {config[key]}, "
                "which prefix sharing does not support; choose a base without it"
            )
    rope = config.get("rope_parameters") or config.get("rope_scaling") or {}
    kind = rope.get("rope_type") or rope.get("type")
    if kind in ("dynamic", "longrope"):
        raise UserError(
            f"model.model_name_or_path: {model_dir}/config.json sets rope_type: {kind}, whose "
            "rotation depends on sequence length, so that rows cannot share a prefix; "
            "choose a base with another rope_type"
        )
    return FAMILIES[family]


def context_length(model_dir: Path) -> int:
    """Context length of the model (`max_position_embeddings`), in tokens."""
    config = json.loads((model_dir / "config.json").read_text(encoding="utf-8"))
    return int(config.get("max_position_embeddings", 2**31))
