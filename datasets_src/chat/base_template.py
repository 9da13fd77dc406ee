"""A base that speaks a chat format and stops where it ends: what ends a reply, what pads.

with_chat_template(Path("/models/llama-3.1-8b"), "llama3")
~/.cache/gallipato/templated/llama-3.1-8b-llama3-3f2a8c…/
    model.safetensors -> /models/llama-3.1-8b/model.safetensors     every file a link, but for
    tokenizer_config.json generation_config.json                    template, stop and pad tokens

All that reads a model (preparation, training, export) takes that directory for the base, so what
is exported has the template, stops where the tuned model does and is served as it was trained.
"""

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock

from datasets_src.chat.families import ALL_PADS, FAMILIES, choose_pad, fitting_families
from datasets_src.chat.tokenise import TextFormat, auto_tokenizer, read_format
from datasets_src.errors import UserError
from datasets_src.files import write_atomically

if TYPE_CHECKING:
    from transformers.tokenization_utils_base import PreTrainedTokenizerBase

TOKENIZER, GENERATION = "tokenizer_config.json", "generation_config.json"
# What would have its say beside tokenizer_config.json.
REPLACED = ("chat_template.jinja", "chat_template.json", "special_tokens_map.json")


@dataclass(frozen=True)
class ChatFormat:
    """What a base is given: a Jinja template, the tokens that end a reply, the padding token."""

    name: str
    chat_template: str
    stops: tuple[str, ...]
    pad: str | None


def with_chat_template(model_dir: Path, name: str) -> Path:
    """A directory of links to `model_dir` with the chat template of the family `name`; cached.

    Raises:
        UserError: the tokenizer lacks a special token of the format.
    """
    family, ids = FAMILIES[name], special_ids(auto_tokenizer(model_dir))
    if missing := [token for token in family.tokens if token not in ids]:
        fitting = fitting_families(ids)
        other = f"set chat_template to {' or '.join(fitting)}" if fitting else "leave it out"
        raise UserError(
            f"model.chat_template: {name} writes {', '.join(missing)}, which the tokenizer of "
            f"{model_dir} does not have as special tokens, so each would be cut into pieces and "
            f"no reply would end; {other}, or set data.template=plain"
        )
    stops = tuple(stop for stop in family.stops if stop in ids)
    pad = choose_pad(ids, pads=family.pads)
    return _link_with_format(model_dir, ChatFormat(name, family.chat_template, stops, pad), ids)


def with_turn_stop(model_dir: Path) -> Path:
    """`model_dir` itself where generation stops at the end of a turn of its own chat template.

    Else (a base whose template is that of its tuned sister, as Qwen's) links to it, with that stop.
    """
    fmt = read_format(model_dir, "chat")
    old = stop_ids(model_dir, fmt)
    if fmt.stop_id in old:
        return model_dir
    tokenizer = auto_tokenizer(model_dir)
    ids = special_ids(tokenizer)
    others = tuple(text for text, id in ids.items() if id in old)
    stops = (fmt.stop_text, *others)
    reserve_pad(tokenizer)
    pad = choose_pad(ids.keys() - {*stops}, pads=(tokenizer.pad_token, *ALL_PADS))
    return _link_with_format(model_dir, ChatFormat("stop", fmt.chat_template, stops, pad), ids)


def special_ids(tokenizer: "PreTrainedTokenizerBase") -> dict[str, int]:
    """The tokens that are never cut into pieces, by their text."""
    decoder = tokenizer.added_tokens_decoder
    return {token.content: id for id, token in decoder.items() if token.special}


def stop_ids(model_dir: Path, fmt: TextFormat) -> list[int]:
    """Where generation ends: eos of generation_config.json and of the tokenizer."""
    listed = _read(model_dir / GENERATION).get("eos_token_id")
    found = listed if isinstance(listed, list) else [listed]
    return [id for id in dict.fromkeys([*found, fmt.eos_id]) if isinstance(id, int)]


def reserve_pad(tokenizer: "PreTrainedTokenizerBase") -> None:
    """Let padding be a reserved token: padding that is the end of a text, masked by its id by
    whoever trains on, makes a model that never stops. None where no reserved token is known."""
    if tokenizer.pad_token_id in (None, tokenizer.eos_token_id):
        tokenizer.pad_token = choose_pad(special_ids(tokenizer).keys() - {tokenizer.eos_token})


def describe_tokens(model_dir: Path, template: str, *, family: str | None) -> str:
    """What ends a reply, what pads and where a system turn goes; one line for the log."""
    fmt, tokenizer = read_format(model_dir, template), auto_tokenizer(model_dir)
    reserve_pad(tokenizer)

    def named(ids: Sequence[int]) -> str:
        tokens = tokenizer.convert_ids_to_tokens(list(ids))
        return " or ".join(f"{token} ({id})" for token, id in zip(tokens, ids, strict=True))

    stops = [fmt.stop_id, *(id for id in stop_ids(model_dir, fmt) if id != fmt.stop_id)]
    told = [f"a reply ends with {named(stops)}"]
    if tokenizer.pad_token is None:
        told.append("no reserved token to pad with, and none is needed")
    else:
        told.append(f"padding is {named([int(tokenizer.pad_token_id)])}")
    if template == "chat":
        told.append(f"a system turn is {'merged' if _merges_system(fmt, family) else 'kept'}")
        told.insert(0, f"chat template {family or 'of its own'}")
    return f"model     {model_dir.name}: {'; '.join(told)}"


def _merges_system(fmt: TextFormat, family: str | None) -> bool:
    return fmt.merges_system or (family is not None and FAMILIES[family].system == "merged")


def _link_with_format(model_dir: Path, chat_format: ChatFormat, ids: Mapping[str, int]) -> Path:
    texts = {
        TOKENIZER: _tokenizer_config(model_dir, chat_format),
        GENERATION: _generation_config(model_dir, chat_format, ids),
    }
    files = sorted(path for path in model_dir.iterdir() if path.is_file())
    links = [path for path in files if path.name not in (*texts, *REPLACED)]
    digest = hashlib.sha256(json.dumps([texts, list(map(str, links))]).encode()).hexdigest()
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    name = f"{model_dir.name}-{chat_format.name}-{digest[:12]}"
    folder = cache / "gallipato" / "templated" / name
    if not folder.is_dir():
        folder.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{folder}.lock"):
            if not folder.is_dir():
                _write_links(folder, links, texts)
    return folder


def _tokenizer_config(model_dir: Path, chat_format: ChatFormat) -> str:
    # The older file holds special tokens that the other one leaves out.
    config = _read(model_dir / "special_tokens_map.json") | _read(model_dir / TOKENIZER)
    config |= {"chat_template": chat_format.chat_template}
    config |= {"eos_token": chat_format.stops[0], "pad_token": chat_format.pad}
    return json.dumps(config, ensure_ascii=False, indent=2) + "\n"


def _generation_config(model_dir: Path, chat_format: ChatFormat, ids: Mapping[str, int]) -> str:
    config = _read(model_dir / GENERATION)
    config["eos_token_id"] = [ids[stop] for stop in chat_format.stops]
    config["pad_token_id"] = None if chat_format.pad is None else ids[chat_format.pad]
    return json.dumps(config, ensure_ascii=False, indent=2) + "\n"


def _read(path: Path) -> dict[str, Any]:
    config: dict[str, Any] = json.loads(path.read_text("utf-8")) if path.is_file() else {}
    return config


def _write_links(folder: Path, links: Sequence[Path], texts: Mapping[str, str]) -> None:
    with write_atomically(folder) as part:
        part.mkdir()
        for path in links:
            (part / path.name).symlink_to(path.resolve())
        for name, text in texts.items():
            (part / name).write_text(text, encoding="utf-8")
