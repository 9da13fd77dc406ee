"""Render conversations by a Jinja chat template, and find the reply in what it writes.

prompt  <|im_start|>user⏎¿Cuántas?<|im_end|>⏎<|im_start|>assistant⏎<think>⏎
full    <|im_start|>user⏎¿Cuántas?<|im_end|>⏎<|im_start|>assistant⏎Doce<|im_end|>⏎
joined  prompt + ⏎</think>⏎⏎ + Doce<|im_end|>⏎

Most templates write the prompt and then the reply. Others open a thinking block in the generation
prompt and leave it out before a reply that is given: a `Seam` says how the two are joined.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import Any

import jinja2

from datasets_src.chat.thinking import TAG, closing
from datasets_src.types import Message

# What Python's operators and methods raise inside a template, in addition to jinja's own errors.
PYTHON_ERRORS = (TypeError, ValueError, LookupError, AttributeError, ArithmeticError)
THOUGHT = re.compile("think|thought", re.IGNORECASE)
# Longer than any tag.
MAX_TAG = 40


@dataclass(frozen=True)
class Seam:
    """How a prompt and its reply are joined; all "" for a template that writes one after the other.

    `prompt_end` is the end of every prompt that a conversation with a reply lacks, `left_out` what
    it has there instead, and `bridge` what is trained before the answer.
    """

    prompt_end: str = ""
    left_out: str = ""
    bridge: str = ""


NO_SEAM = Seam()
# Conversations -> their texts, with the generation prompt if True.
Render = Callable[[Sequence[list[Message]], bool], list[str]]


def render(
    template: str,
    special_tokens: Mapping[str, Any],
    conversations: Sequence[Sequence[Message]],
    *,
    cue: bool,
    variables: Mapping[str, Any] | None = None,
) -> list[str]:
    """The text of each conversation, with the generation prompt if `cue`.

    Raises:
        jinja2.TemplateError: the template rejects a conversation or is not valid.
    """
    from transformers.utils.chat_template_utils import render_jinja_template

    arguments: dict[str, Any] = {"conversations": conversations, "add_generation_prompt": cue}
    try:
        # The return type is annotated as str, but the function returns (texts, indices).
        rendered: Any = render_jinja_template(
            chat_template=template, **arguments, **special_tokens, **(variables or {})
        )
    except PYTHON_ERRORS as error:
        raise jinja2.TemplateRuntimeError(f"{type(error).__name__}: {error}") from error
    return list(rendered[0])


def with_reply(turns: Sequence[Message], reply: str) -> list[Message]:
    """The turns and an assistant turn."""
    return [*turns, Message(role="assistant", content=reply)]


def merge_system(turns: Sequence[Message]) -> list[Message]:
    """Prepend a system turn to the user turn that follows it, as is usual for Gemma."""
    if not turns or turns[0]["role"] != "system" or len(turns) < 2:
        return list(turns)
    system, first, *rest = turns
    return [Message(role="user", content=f"{system['content']}\n\n{first['content']}"), *rest]


def render_pairs(
    render_turns: Render,
    seam: Seam,
    conversations: Sequence[list[Message]],
    targets: Sequence[str],
) -> tuple[list[str], list[str | None]]:
    """Prompts, up to where the reply starts, and prompts with their replies.

    None instead of the latter if the template rewrites the prompt before a reply.
    """
    pairs = list(zip(conversations, targets, strict=True))
    prompts = render_turns(conversations, True)
    replied = render_turns([with_reply(*pair) for pair in pairs], False)
    joined = [join(seam, *texts) for texts in zip(prompts, replied, strict=True)]
    for row, (turns, target) in enumerate(pairs):
        if joined[row] is None and turns[0]["role"] == "system":
            # Mistral's templates write the system turn into the last user turn, and only if no
            # reply follows. Without it the prompt stays the same, and so does the reply.
            [prompt], [full] = render_pairs(render_turns, seam, [turns[1:]], [target])
            joined[row] = None if full is None else prompts[row] + full[len(prompt) :]
    return prompts, joined


def text_before_answer(prompt: str, full: str, reply: str) -> str:
    """The text between the generation prompt and the answer, e.g. "⏎</think>⏎⏎".

    It is the text that the template writes there, or what closes a thinking block that the prompt
    opens.
    """
    ends, starts = _tails(prompt, full, reply)
    if not ends:
        return starts + closing(prompt + starts)
    close = closing(prompt)
    if close and TAG.search(starts):
        return starts
    return "" if starts and prompt.endswith(starts) else close + TAG.sub("", starts)


def find_seam(prompt: str, full: str, reply: str) -> Seam:
    """The seam of the template that renders a conversation as `prompt`, with `reply` as `full`."""
    ends, starts = _tails(prompt, full, reply)
    if ends and (THOUGHT.search(ends) or closing(prompt)):
        return Seam(ends, starts, text_before_answer(prompt, full, reply))
    if not ends and (close := closing(prompt + starts)):
        return Seam("", starts, starts + close)
    return NO_SEAM


def join(seam: Seam, prompt: str, full: str) -> str | None:
    """The prompt and the reply of `full`; None if the template rewrites the prompt."""
    opens = seam.bridge and not seam.prompt_end
    if full.startswith(prompt) and not opens:
        return full
    at = len(prompt) - len(seam.prompt_end)
    kept = prompt.endswith(seam.prompt_end) and full.startswith(prompt[:at] + seam.left_out)
    if not kept or seam == NO_SEAM:
        return None
    return prompt + seam.bridge + full[at + len(seam.left_out) :]


def _tails(prompt: str, full: str, reply: str) -> tuple[str, str]:
    """The ends of `prompt` and of `full` up to the reply, from where they differ."""
    head = full[: full.rindex(reply)] if reply in full else full
    num = sum(takewhile(bool, (a == b for a, b in zip(prompt, head, strict=False))))
    if num < min(len(prompt), len(head)):
        # Not within a tag: <think> and </think> have their first character in common.
        for start, end in ("<>", "[]"):
            at = prompt.rfind(start, max(0, num - MAX_TAG), num)
            num = at if at >= 0 and end not in prompt[at:num] else num
    return prompt[num:], head[num:]
