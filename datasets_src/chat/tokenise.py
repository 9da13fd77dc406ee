"""Tokenise an Example: token ids, and the position of the first target token.

chat:  <|im_start|>user⏎¿Cuántas rutas hay?<|im_end|>⏎<|im_start|>assistant⏎ | SELECT …<|im_end|>
plain: <s>### Instrucción: ¿Cuántas rutas hay?⏎### SQL:                      | SELECT …</s>

Left of the bar is the prompt; right of it are the target tokens (loss positions). The bar is a
position, not a token id, so a padding or stop token inside the prompt has no effect.
"""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from itertools import takewhile
from pathlib import Path
from typing import Any

import jinja2
from tokenizers import AddedToken, Tokenizer

from datasets_src.chat.families import fitting_families
from datasets_src.chat.render import (
    NO_SEAM,
    Seam,
    find_seam,
    merge_system,
    render,
    render_pairs,
    with_reply,
)
from datasets_src.chat.word_encoder import Encode, open_encoder
from datasets_src.errors import UserError
from datasets_src.types import Example, ExampleRenderer, Message

PROBE = ("Hola", "¿Cuántas rutas hay?")
REPLY = "Doce"
# An empty target still has one target token, the stop.
MIN_TRAINED = 2


@dataclass(frozen=True)
class TextFormat:
    """Everything needed to tokenise, cheap to send to a worker: no torch, no model directory.

    `tokenizer_json` is the serialised fast tokenizer. `cue` is the constant end of every chat
    prompt, from its last special token on ("<|im_start|>assistant⏎"); "" if it has none. `stop_id`
    ends a reply, `eos_id` is the tokenizer's end of text. `merges_system`: the template has no
    system turn, so its text is merged into the first user turn. `seam`: see render.py.
    `num_later_stops` more stops follow the one that ends a reply.
    """

    template: str
    tokenizer_json: str
    chat_template: str
    special_tokens: dict[str, Any]
    bos_id: int | None
    stop_id: int
    eos_id: int | None = None
    stop_text: str = ""
    cue: str = ""
    merges_system: bool = False
    seam: Seam = NO_SEAM
    num_later_stops: int = 0


@dataclass(frozen=True)
class Tokens:
    """`input_ids` [T], the first `prompt_len` of them the prompt; `fault`: why it is unusable."""

    input_ids: list[int]
    prompt_len: int
    fault: str = ""

    @property
    def num_trained(self) -> int:
        """Number of target tokens, including the stop."""
        return len(self.input_ids) - self.prompt_len


def read_format(model_dir: Path, template: str) -> TextFormat:
    """The format of the tokenizer in `model_dir` for `template` ("chat" or "plain").

    Raises:
        UserError: no fast tokenizer, no chat template, or no token to end a reply.
    """
    key, tokenizer = f"model.model_name_or_path: {model_dir}", auto_tokenizer(model_dir)
    if not tokenizer.is_fast:
        raise UserError(f"{key}: no fast tokenizer; save it with a tokenizer.json")
    backend: Tokenizer = tokenizer.backend_tokenizer
    backend.no_truncation()
    backend.no_padding()
    fmt = TextFormat(
        template=template,
        tokenizer_json=backend.to_str(),
        chat_template=tokenizer.get_chat_template() if tokenizer.chat_template else "",
        special_tokens=dict(tokenizer.special_tokens_map),
        bos_id=tokenizer.bos_token_id,
        stop_id=-1 if tokenizer.eos_token_id is None else tokenizer.eos_token_id,
        eos_id=tokenizer.eos_token_id,
    )
    if template == "chat":
        return _probe_chat(fmt, backend, key)
    if tokenizer.eos_token_id is None:
        raise UserError(f"{key}: no eos_token to end a reply; set it in tokenizer_config.json")
    return fmt


def auto_tokenizer(model_dir: Path) -> Any:
    """The transformers tokenizer in `model_dir`.

    Raises:
        UserError: it cannot be loaded.
    """
    from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(model_dir)
    except (OSError, ValueError) as error:
        raise UserError(
            f"model.model_name_or_path: {model_dir}: no tokenizer found "
            f"({str(error).split(chr(10))[0]}); copy the base's tokenizer files there"
        ) from None


def _probe_chat(fmt: TextFormat, backend: Tokenizer, key: str) -> TextFormat:
    added = list(backend.get_added_tokens_decoder().values())
    special = {token.content for token in added if token.special}
    fitting = fitting_families(special)
    family = f"model.chat_template to {' or '.join(fitting)}, or " if fitting else ""
    remedy = f"set {family}data.template=plain"
    if not fmt.chat_template:
        raise UserError(f"{key}: no chat template; {remedy}, or name an instruction-tuned model")
    conversations = [[Message(role="user", content=text)] for text in PROBE]
    try:
        prompts = render_turns(fmt, conversations, True)
        full = render_turns(fmt, [with_reply(turns, REPLY) for turns in conversations], False)
    except jinja2.TemplateError as error:
        why = " ".join(str(error).split())
        raise UserError(f"{key}: its chat template fails ({why}); fix it, or {remedy}") from None
    ids = backend.encode(full[0].rpartition(REPLY)[2], add_special_tokens=False)
    ends = [pair for pair in zip(ids.ids, ids.tokens, strict=True) if pair[1] in special]
    if not ends:
        raise UserError(
            f"{key}: its chat template ends a reply without a special token, so a fine-tuned model"
            f" would never stop; fix it, or {remedy}"
        )
    stop_id, stop_text = ends[0]
    return replace(
        fmt,
        stop_id=stop_id,
        stop_text=stop_text,
        cue=_find_cue(prompts, added),
        merges_system=not _has_system_turn(fmt),
        seam=find_seam(prompts[0], full[0], REPLY),
        num_later_stops=ids.ids.count(stop_id) - 1,
    )


def _has_system_turn(fmt: TextFormat) -> bool:
    """Whether a system turn is rendered: some templates reject it (Gemma's), others drop it."""
    system, user = Message(role="system", content=PROBE[1]), Message(role="user", content=PROBE[0])
    try:
        [prompt] = render_turns(fmt, [[system, user]], True)
    except jinja2.TemplateError:
        return False
    return PROBE[1] in prompt


def _find_cue(prompts: Sequence[str], added: Sequence[AddedToken]) -> str:
    """The common end of all prompts, from the last special token that always splits a text."""
    same = (a == b for a, b in zip(reversed(prompts[0]), reversed(prompts[1]), strict=False))
    end = prompts[0][len(prompts[0]) - sum(takewhile(bool, same)) :]
    cutting = [
        token.content
        for token in added
        if token.special
        and not (token.lstrip or token.single_word)
        # No other token may overlap its start.
        and not any(token.content[0] in other.content[1:] for other in added)
    ]
    at = max((end.rfind(text) for text in cutting), default=-1)
    return end[at:] if at >= 0 else ""


def render_turns(fmt: TextFormat, conversations: Sequence[list[Message]], cue: bool) -> list[str]:
    """The text of each conversation, with the generation prompt if `cue`."""
    if fmt.merges_system:
        conversations = [merge_system(turns) for turns in conversations]
    return render(fmt.chat_template, fmt.special_tokens, conversations, cue=cue)


def open_tokenizer(fmt: TextFormat) -> Encode:
    """The function texts -> ids. Single-threaded: the pipeline runs one Ray task per core."""
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    return open_encoder(Tokenizer.from_str(fmt.tokenizer_json))


def tokenise(
    fmt: TextFormat, encode: Encode, *, task: ExampleRenderer, examples: Sequence[Example]
) -> list[Tokens]:
    """Token ids of a batch of examples, in order; each text is tokenised once."""
    if fmt.template == "plain":
        return plain_tokens(fmt, encode, [task.to_text(example) for example in examples])
    targets = [example.target for example in examples]
    return chat_tokens(fmt, encode, [task.to_messages(e) for e in examples], targets)


def empty_target_test(fmt: TextFormat, task: ExampleRenderer) -> Callable[[Example], bool]:
    """A test for examples whose only target token is the stop; tokenises blank targets only."""
    encoder = cache(lambda: open_tokenizer(fmt))

    def is_empty(example: Example) -> bool:
        if example.target and not example.target.isspace():
            return False
        [row] = tokenise(fmt, encoder(), task=task, examples=[example])
        return not row.fault and row.num_trained < MIN_TRAINED

    return is_empty


def tokenise_probe(fmt: TextFormat, encode: Encode) -> None:
    """Tokenise a short text to trigger lazy loading."""
    if fmt.template == "chat":
        chat_tokens(fmt, encode, [[Message(role="user", content=PROBE[0])]], [REPLY])
    else:
        plain_tokens(fmt, encode, [(PROBE[0], REPLY)])


def plain_tokens(fmt: TextFormat, encode: Encode, pairs: Sequence[tuple[str, str]]) -> list[Tokens]:
    """bos + prompt | completion + eos, with both texts tokenised separately, as in BioSenda."""
    ids = encode([text for pair in pairs for text in pair])
    rows = []
    for prompt, completion in zip(ids[::2], ids[1::2], strict=True):
        if fmt.bos_id is not None and prompt[:1] != [fmt.bos_id]:
            prompt.insert(0, fmt.bos_id)
        rows.append(Tokens([*prompt, *completion, fmt.stop_id], len(prompt)))
    return rows


def chat_tokens(
    fmt: TextFormat,
    encode: Encode,
    conversations: Sequence[list[Message]],
    targets: Sequence[str],
) -> list[Tokens]:
    """Find the target tokens by prefix difference: ids of the prompt against prompt and reply.

    A tokenizer first splits text at special tokens and tokenises each piece separately. The text
    before the cue (which starts with a special token) therefore has the same ids with and without a
    reply. The cue has too, exactly if its ids are a prefix of those of cue and reply.
    `conversations` are the turns of the prompts, `targets` the replies.
    """
    try:
        prompts, full = render_pairs(partial(render_turns, fmt), fmt.seam, conversations, targets)
    except jinja2.TemplateError as error:
        if len(targets) == 1:
            why = " ".join(str(error).split())
            return [Tokens([], 0, f"the chat template rejects it ({why})")]
        rows = zip(conversations, targets, strict=True)
        return [
            row for turns, target in rows for row in chat_tokens(fmt, encode, [turns], [target])
        ]
    cuts = [len(p) - len(fmt.cue) if p.endswith(fmt.cue) else len(p) for p in prompts]
    texts = [text or "" for text in full]
    pieces = [(text[:at], text[at:]) for text, at in zip(texts, cuts, strict=True)]
    ids = encode([fmt.cue, *(piece for pair in pieces for piece in pair)])
    cue, heads, tails = ids[0], ids[1::2], ids[2::2]
    found = []
    for prompt, text, head, tail in zip(prompts, texts, heads, tails, strict=True):
        if not text:
            found.append(Tokens([], 0, "the chat template rewrites the prompt before a reply"))
        elif fmt.cue and prompt.endswith(fmt.cue) and tail[: len(cue)] == cue:
            found.append(_cut_after_stop(fmt, head + tail, len(head) + len(cue)))
        else:
            found.append(_by_definition(fmt, encode, prompt, text))
    return found


def _by_definition(fmt: TextFormat, encode: Encode, prompt: str, text: str) -> Tokens:
    head, ids = encode([prompt, text])
    if ids[: len(head)] != head:
        # A reply that merges with the end of the prompt ("⏎" + "⏎" is one token in some
        # vocabularies) is tokenised separately, as it will be generated. The special token before
        # it keeps the tokenizer from prepending a space.
        stop = fmt.stop_text + text[len(prompt) :]
        ids = head + encode([stop])[0][1:]
    return _cut_after_stop(fmt, ids, len(head))


def _cut_after_stop(fmt: TextFormat, ids: list[int], prompt_len: int) -> Tokens:
    # Many templates put a line break after the stop token; it is never generated.
    stops = [at for at in range(prompt_len, len(ids)) if ids[at] == fmt.stop_id]
    if len(stops) <= fmt.num_later_stops:
        return Tokens([], 0, "the reply has no stop token")
    return Tokens(ids[: stops[-1 - fmt.num_later_stops] + 1], prompt_len)
