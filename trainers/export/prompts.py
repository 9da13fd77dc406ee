"""Prompts as they were trained, with the messages or the text by which a client sends them.

prompts = [*probe_prompts(fmt), *validation_prompts(config, prepared_dir, fmt)]

An exported file is compared by token ids, from the same messages: text that is decoded from ids and
tokenised again is another text for many tokenizers (SentencePiece adds a space, Qwen's normalises
to NFC), so a gate that decodes refuses files that are right.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from tokenizers import Tokenizer

from datasets_src.chat.render import merge_system
from datasets_src.chat.tokenise import (
    REPLY,
    TextFormat,
    chat_tokens,
    open_tokenizer,
    plain_tokens,
    render_turns,
)
from datasets_src.prepared.store import open_split
from datasets_src.task import load_task
from datasets_src.types import Message
from trainers.config.schema import Config

PROBES = (
    "¿Cuántas rutas hay en Ávila? ¡Ñandú, pingüino, corazón!",
    "E\u0301l camino\u0301 con tildes sueltas",
    "0 1 12 123 1234567890 3,14 1.000.000 -7 2024-02-29 10:45",
    "SELECT COUNT(*), a.b FROM t WHERE x >= 1.5 AND y <> 'z''s' -- c",
    "def f(x):\n    return {'k': [x**2, x != 3]}\n\tif f(1):\n\t\tpass\n",
    "🦎 salamandra 👩‍🔬 y 🇪🇸 €",
    "dos  espacios,   tres y    cuatro ",
    " un espacio delante",
    "líneas\n\ny\n\n\nmás líneas\r\ny retornos\n",
    '"comillas" «angulares» ‘simples’ … — guión · punto',
    "日本語 русский عربى ελληνικά",
    "a",
)


@dataclass(frozen=True)
class Prompt:
    """A prompt three times: `ids` as trained, `text` as rendered, `messages` as a client sends it.

    `messages` is None for data.template=plain. `text` and `messages` are in the tokenizer's Unicode
    form, which llama.cpp does not apply itself.
    """

    ids: tuple[int, ...]
    text: str
    messages: tuple[Message, ...] | None = None
    was_normalised: bool = False


def probe_prompts(fmt: TextFormat) -> list[Prompt]:
    """PROBES as questions, in a dialogue, and after a system turn."""
    if fmt.template == "plain":
        return plain_prompts(fmt, PROBES)
    questions = [[_turn("user", text)] for text in PROBES]
    dialogue = [*questions[0], _turn("assistant", PROBES[3]), _turn("user", "y  más")]
    with_system = [_turn("system", PROBES[9]), *questions[5]]
    return chat_prompts(fmt, [*questions, dialogue, with_system])


def validation_prompts(config: Config, prepared_dir: Path, fmt: TextFormat) -> list[Prompt]:
    """The prompt of every validation row, its ids read from the prepared data."""
    split, task = open_split(prepared_dir, "validation"), load_task(config.data.task)
    examples = [split.example(i) for i in range(len(split))]
    rows = [split.tokens(i) for i in range(len(split))]
    trained = [tuple(row.input_ids[: row.prompt_len]) for row in rows]
    if fmt.template == "plain":
        return _plain([task.to_text(example)[0] for example in examples], trained, fmt)
    return _chat([task.to_messages(example) for example in examples], trained, fmt)


def chat_prompts(fmt: TextFormat, conversations: Sequence[list[Message]]) -> list[Prompt]:
    """Prompts of `conversations`, tokenised as in training."""
    rows = chat_tokens(fmt, open_tokenizer(fmt), conversations, [REPLY] * len(conversations))
    return _chat(conversations, [tuple(row.input_ids[: row.prompt_len]) for row in rows], fmt)


def plain_prompts(fmt: TextFormat, texts: Sequence[str]) -> list[Prompt]:
    """Prompts of plain `texts`, tokenised as in training."""
    rows = plain_tokens(fmt, open_tokenizer(fmt), [(text, REPLY) for text in texts])
    return _plain(texts, [tuple(row.input_ids[: row.prompt_len]) for row in rows], fmt)


def _chat(
    conversations: Sequence[list[Message]], trained: Sequence[tuple[int, ...]], fmt: TextFormat
) -> list[Prompt]:
    tokenizer = parsed(fmt.tokenizer_json)
    found = []
    for turns, ids in zip(conversations, trained, strict=True):
        # As a client must send it where the template has no system turn.
        sent = merge_system(turns) if fmt.merges_system else list(turns)
        form = [_turn(turn["role"], unicode_form(tokenizer, turn["content"])) for turn in sent]
        [text] = render_turns(fmt, [form], True)
        found.append(Prompt(ids, text, tuple(form), was_normalised=form != sent))
    return found


def _plain(
    texts: Sequence[str], trained: Sequence[tuple[int, ...]], fmt: TextFormat
) -> list[Prompt]:
    tokenizer = parsed(fmt.tokenizer_json)
    found = []
    for text, ids in zip(texts, trained, strict=True):
        form = unicode_form(tokenizer, text)
        found.append(Prompt(ids, form, was_normalised=form != text))
    return found


@lru_cache(2)
def parsed(tokenizer_json: str) -> Tokenizer:
    """The tokenizer; 150,000 tokens take a second to parse."""
    return Tokenizer.from_str(tokenizer_json)


def unicode_form(tokenizer: Tokenizer, text: str) -> str:
    """`text` in the Unicode form (NFC, NFKC) into which the tokenizer puts it.

    Other normalisers (SentencePiece's spaces) are part of how both engines split a text.
    """
    normalizer = tokenizer.normalizer
    kinds = ("NFC", "NFKC", "NFD", "NFKD")
    if normalizer is None or type(normalizer).__name__ not in kinds:
        return text
    form: str = normalizer.normalize_str(text)
    return form


def _turn(role: str, content: str) -> Message:
    return Message(role=role, content=content)
