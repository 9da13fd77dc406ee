"""Give a base model a chat template with the matching stop and padding tokens.

with_chat_template(Path("/models/llama-3.1-8b"), "llama3")
~/.cache/gallipato/templated/llama-3.1-8b-llama3-3f2a8c…/
    model.safetensors -> /models/llama-3.1-8b/model.safetensors     every file is a link, except
    tokenizer_config.json generation_config.json                    template, stop and pad tokens

Preparation, training and export all use that directory as the base, so an exported model carries
the template, stops where the fine-tuned model stops and is served as it was trained.
"""

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jinja2
from filelock import FileLock

from datasets_src.chat.families import ALL_PADS, FAMILIES, choose_pad, fitting_families
from datasets_src.chat.pinned import THINKING, pin_template, pins_of
from datasets_src.chat.render import with_reply
from datasets_src.chat.tokenise import (
    PROBE,
    TextFormat,
    auto_tokenizer,
    read_format,
    render_turns,
)
from datasets_src.errors import UserError
from datasets_src.files import write_atomically
from datasets_src.types import Message

if TYPE_CHECKING:
    from transformers.tokenization_utils_base import PreTrainedTokenizerBase

TOKENIZER, GENERATION = "tokenizer_config.json", "generation_config.json"
# Files that would override tokenizer_config.json.
REPLACED = ("chat_template.jinja", "chat_template.json", "special_tokens_map.json")


@dataclass(frozen=True)
class ChatFormat:
    """What a base is given: Jinja template, stop tokens (first one trained), padding token."""

    name: str
    chat_template: str
    stops: tuple[str, ...]
    pad: str | None


def with_chat_template(model_dir: Path, name: str) -> Path:
    """A cached directory of links to `model_dir` with the chat template of the family `name`.

    Raises:
        UserError: the tokenizer lacks a special token of the format.
    """
    family, ids = FAMILIES[name], special_ids(auto_tokenizer(model_dir))
    if missing := [token for token in family.tokens if token not in ids]:
        fitting = fitting_families(ids)
        other = f"set chat_template to {' or '.join(fitting)}" if fitting else "leave it out"
        raise UserError(
            f"model.chat_template: {name} uses {', '.join(missing)}, which the tokenizer of "
            f"{model_dir} does not have as special tokens: each would be split into several tokens "
            f"and no reply would end; {other}, or set data.template=plain"
        )
    stops = tuple(stop for stop in family.stops if stop in ids)
    pad = choose_pad(ids, pads=family.pads)
    return _link_with_format(model_dir, ChatFormat(name, family.chat_template, stops, pad), ids)


def with_own_template(model_dir: Path, *, enable_thinking: bool = False) -> Path:
    """A cached directory of links to `model_dir` in which its own chat template is fixed.

    Thinking and the date are written into it (pinned.py), and generation stops where it ends a
    turn: a base that carries the template of its instruction-tuned sibling, like Qwen's, gets that
    stop token. Padding is a token that ends no reply. `model_dir` itself, if nothing changes it.

    Raises:
        UserError: no usable chat template.
    """
    fmt = read_format(model_dir, "chat")
    template = pin_template(fmt.chat_template, fmt.special_tokens, enable_thinking=enable_thinking)
    old, tokenizer = stop_ids(model_dir, fmt), auto_tokenizer(model_dir)
    stops_with_pad = tokenizer.pad_token_id in {fmt.stop_id, *old}
    if fmt.stop_id in old and template == fmt.chat_template and not stops_with_pad:
        return model_dir
    ids = special_ids(tokenizer)
    others = (text for text, id in ids.items() if id in old and text != fmt.stop_text)
    stops = (fmt.stop_text, *others)
    reserve_pad(tokenizer)
    pad = choose_pad(ids.keys() - {*stops}, pads=(tokenizer.pad_token, *ALL_PADS))
    return _link_with_format(model_dir, ChatFormat("own", template, stops, pad), ids)


def special_ids(tokenizer: "PreTrainedTokenizerBase") -> dict[str, int]:
    """Special tokens, which are never split: text -> id."""
    decoder = tokenizer.added_tokens_decoder
    return {token.content: id for id, token in decoder.items() if token.special}


def stop_ids(model_dir: Path, fmt: TextFormat) -> list[int]:
    """Ids that end generation: eos of generation_config.json, then eos of the tokenizer."""
    listed = _read(model_dir / GENERATION).get("eos_token_id")
    found = listed if isinstance(listed, list) else [listed]
    return [id for id in dict.fromkeys([*found, fmt.eos_id]) if isinstance(id, int)]


def reserve_pad(tokenizer: "PreTrainedTokenizerBase") -> None:
    """Set padding to a reserved token if it is missing or equal to eos; None if none is known.

    If padding were eos, a trainer that masks padding by its id would also mask the eos of each
    reply, and the model would never learn to stop.
    """
    if tokenizer.pad_token_id in (None, tokenizer.eos_token_id):
        tokenizer.pad_token = choose_pad(special_ids(tokenizer).keys() - {tokenizer.eos_token})


def describe_tokens(model_dir: Path, template: str, *, family: str | None) -> str:
    """One log line: stop tokens, padding token, and how a system turn is rendered."""
    fmt, tokenizer = read_format(model_dir, template), auto_tokenizer(model_dir)
    reserve_pad(tokenizer)

    def named(ids: Sequence[int]) -> str:
        tokens = tokenizer.convert_ids_to_tokens(list(ids))
        return " or ".join(f"{token} ({id})" for token, id in zip(tokens, ids, strict=True))

    stops = [fmt.stop_id, *(id for id in stop_ids(model_dir, fmt) if id != fmt.stop_id)]
    parts = [f"replies end with {named(stops)}"]
    if tokenizer.pad_token is None:
        parts.append("no reserved token for padding (none needed)")
    else:
        parts.append(f"padding {named([int(tokenizer.pad_token_id)])}")
    if template == "chat":
        parts.append(f"system turn {_system_turn(fmt, family)}")
        parts += _pinned_parts(fmt)
        parts.insert(0, f"chat template {family or 'of the tokenizer'}")
    return f"model     {model_dir.name}: {'; '.join(parts)}"


def _system_turn(fmt: TextFormat, family: str | None) -> str:
    if fmt.merges_system or (family is not None and FAMILIES[family].system == "merged"):
        return "merged"
    first, system, last = (f"{PROBE[0]} {name}" for name in ("first", "system", "last"))
    turns = [Message(role="system", content=system), Message(role="user", content=first)]
    turns = [*with_reply(turns, PROBE[1]), Message(role="user", content=last)]
    try:
        [text] = render_turns(fmt, [turns], True)
    except jinja2.TemplateError:  # of one question only
        return "kept"
    return "in the last user turn" if text.find(system) > text.find(first) else "kept"


def _pinned_parts(fmt: TextFormat) -> list[str]:
    """What pin_template fixed, for the log line."""
    pins = pins_of(fmt.chat_template)
    parts = [f"thinking {'on' if pins[name] else 'off'}" for name in THINKING if name in pins]
    return [*parts[:1], *(f"date {pins[name]}" for name in ("date_string",) if name in pins)]


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
    # The older special_tokens_map.json may hold special tokens that tokenizer_config.json lacks.
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
