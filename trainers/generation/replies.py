"""A reply, and where it ends: at an end-of-turn token or a stop string."""

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, replace

from transformers.tokenization_utils_base import PreTrainedTokenizerBase

from datasets_src.chat.thinking import opened_block
from datasets_src.task import load_task
from trainers.config.schema import Config
from trainers.models.load import LanguageModel

# More than a start of a thinking block has.
THINKING_TOKENS = 16


def stop_strings(config: Config) -> tuple[str, ...]:
    """Stop strings of the config's task under the plain template; none under a chat template."""
    return load_task(config.data.task).STOP if config.data.template == "plain" else ()


@dataclass(frozen=True)
class Reply:
    """A generated reply.

    Attributes:
        text: the reply without its stop.
        ids: all new tokens, including the stop.
        stopped: False if `max_new_tokens` ended the reply.
    """

    text: str
    ids: tuple[int, ...]
    stopped: bool


def with_opened_thinking(
    tokenizer: PreTrainedTokenizerBase, prompts: Sequence[Sequence[int]], replies: Sequence[Reply]
) -> list[Reply]:
    """The replies, each with the start of the thinking block that its prompt opens, if it does."""
    found = []
    for prompt, reply in zip(prompts, replies, strict=True):
        end = tokenizer.decode(list(prompt[-THINKING_TOKENS:]), skip_special_tokens=False)
        start = opened_block(str(end))
        found.append(replace(reply, text=start + reply.text) if start else reply)
    return found


class StopRule:
    """Ends a reply at an end-of-turn token, or at the token that completes a stop string."""

    def __init__(
        self, tokenizer: PreTrainedTokenizerBase, *, ends: Sequence[int], stop: Sequence[str]
    ) -> None:
        self.ends, self.stop = frozenset(ends), tuple(stop)
        self._tokenizer = tokenizer
        self._last_characters = {text[-1] for text in stop}
        self._can_complete: dict[int, bool] = {}

    def text(self, ids: Sequence[int]) -> str:
        """Decode the tokens, special ones included."""
        return str(self._tokenizer.decode(list(ids), skip_special_tokens=False))

    def ends_with_last(self, ids: Sequence[int]) -> bool:
        """Whether the last of these new tokens ends the reply, given that none before it does."""
        if ids[-1] in self.ends:
            return True
        return self._may_complete(ids[-1]) and any(s in self.text(ids) for s in self.stop)

    def _may_complete(self, token: int) -> bool:
        """Whether the token can hold the last character of a stop string, or a byte of one.

        It is decoded twice over, because a tokenizer may drop a space at the start of a text.
        """
        if token not in self._can_complete:
            text = self.text([token, token])
            self._can_complete[token] = "\ufffd" in text or any(
                character in text for character in self._last_characters
            )
        return self._can_complete[token]


def end_of_turn_ids(model: LanguageModel, tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """Token ids that end a reply: the generation config's and the tokenizer's eos."""
    config = getattr(model, "generation_config", None)
    ids = config.eos_token_id if config is not None else None
    listed = [] if ids is None else [ids] if isinstance(ids, int) else list(ids)
    if isinstance(tokenizer.eos_token_id, int):
        listed.append(tokenizer.eos_token_id)
    assert listed, "a model without an end-of-turn token never stops"
    return sorted(set(listed))


def cut_reply(ids: Sequence[int], rule: StopRule) -> Reply:
    """Cut new token ids after the first end-of-turn token or the token that completes a stop
    string, whichever comes first; the rest is padding of a batch."""
    end = next((i for i, token in enumerate(ids) if token in rule.ends), None)
    body = list(ids if end is None else ids[:end])
    text = rule.text(body)
    at = min((text.find(s) for s in rule.stop if s in text), default=None)
    if at is None:
        kept = body if end is None else list(ids[: end + 1])
        return Reply(text.strip(), tuple(kept), stopped=end is not None)
    num_kept = bisect_left(
        range(len(body)), 1, key=lambda n: any(s in rule.text(body[:n]) for s in rule.stop)
    )
    return Reply(text[:at].strip(), tuple(body[:num_kept]), stopped=True)
