"""Thinking blocks: what opens and closes one, and the answer that follows it in a reply.

answer_of("<think>\nKilómetros…\n</think>\n\nSELECT 9")  -> "SELECT 9"
answer_of("<think>\nKilómetros…")                        -> ""    the block does not end
answer_of("SELECT 9")                                    -> "SELECT 9"
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

OPEN = re.compile(
    r"(?:<(?P<xml>[\w:]*think[\w:]*)>|\[(?P<square>think)\]|<\|START_(?P<upper>thinking)\|>)\s*$",
    re.IGNORECASE,
)
TAG = re.compile(r"[<\[][^<>\[\]]*think[^<>\[\]]*[>\]]", re.IGNORECASE)
STARTS = re.compile(r"\s*(?:<[\w:]*think[\w:]*>|\[THINK\]|<\|START_THINKING\|>)")
ENDS = re.compile(r"(?:</[\w:]*think[\w:]*>|\[/THINK\]|<\|END_THINKING\|>)\s*")


@dataclass(frozen=True)
class Thinking:
    """How many replies had a thinking block, and of these, how many one that does not end."""

    num_replies: int = 0
    num_unclosed: int = 0


NO_THINKING = Thinking()


def closing(prompt: str) -> str:
    """What ends the thinking block that `prompt` opens at its end, as DeepSeek-R1 leaves one empty;
    "" if it opens none."""
    found = OPEN.search(prompt)
    if found is None:
        return ""
    xml, square, upper = found["xml"], found["square"], found["upper"]
    tag = f"</{xml}>" if xml else f"[/{square}]" if square else f"<|END_{upper}|>"
    return f"\n{tag}\n\n" if prompt.endswith("\n") else tag


def opened_block(prompt: str) -> str:
    """The start of the thinking block that `prompt` opens at its end; "" if it opens none."""
    found = OPEN.search(prompt)
    return "" if found is None else found[0]


def has_thinking(reply: str) -> bool:
    """Whether `reply` starts with a thinking block; its start may be in the prompt."""
    if STARTS.match(reply):
        return True
    end = ENDS.search(reply)
    return end is not None and TAG.search(reply, 0, end.start()) is None


def answer_of(reply: str) -> str:
    """`reply` without the thinking block that it starts with; "" if the block does not end."""
    if not has_thinking(reply):
        return reply
    end = ENDS.search(reply)
    return "" if end is None else reply[end.end() :]


def is_unclosed(reply: str) -> bool:
    """Whether `reply` starts with a thinking block that does not end."""
    return has_thinking(reply) and ENDS.search(reply) is None


def count_thinking(replies: Sequence[str]) -> Thinking:
    """Count the replies with a thinking block."""
    thinking = [reply for reply in replies if has_thinking(reply)]
    return Thinking(len(thinking), sum(map(is_unclosed, thinking)))
