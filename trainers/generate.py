"""Greedy replies: a stop per sequence; neither the other prompts nor the batch size change one.

[reply] = greedy_replies(model, tokenizer, [prompt_ids], max_new_tokens=64, stop=(";",))
reply.text == "SELECT COUNT(*) FROM rutas"
"""

from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from transformers.tokenization_utils_base import PreTrainedTokenizerBase

from trainers.decoding import decode
from trainers.generate_padded import padded_rows
from trainers.model import LanguageModel
from trainers.tree_attention import NAME


@dataclass(frozen=True)
class Reply:
    """`ids` are all new tokens up to and with the stop; `text` is before it.

    `stopped` is False where max_new_tokens ended the reply.
    """

    text: str
    ids: tuple[int, ...]
    stopped: bool


class StopRule:
    """A reply ends with an end-of-turn token, or with the token that completes a stop string."""

    def __init__(
        self, tokenizer: PreTrainedTokenizerBase, *, ends: Sequence[int], stop: Sequence[str]
    ) -> None:
        self.ends, self.stop = frozenset(ends), tuple(stop)
        self._tokenizer = tokenizer
        self._last_characters = {text[-1] for text in stop}
        self._can_complete: dict[int, bool] = {}

    def text(self, ids: Sequence[int]) -> str:
        """Of the tokens as they are."""
        return str(self._tokenizer.decode(list(ids), skip_special_tokens=False))

    def ends_with_last(self, ids: Sequence[int]) -> bool:
        """Whether the last of these new tokens ends the reply; none before it did."""
        if ids[-1] in self.ends:
            return True
        return self._may_complete(ids[-1]) and any(s in self.text(ids) for s in self.stop)

    def _may_complete(self, token: int) -> bool:
        """Whether a stop string's last character, or a part of one, can come from the token.

        Twice, for a tokenizer may drop the space at the front of a text.
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
    """Cut new token ids behind the first end-of-turn token or the token that completes a stop
    string, whichever is first; what stands behind it is the padding of a batch."""
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


@torch.inference_mode()
def greedy_replies(
    model: LanguageModel,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[Sequence[int]],
    *,
    max_new_tokens: int,
    stop: tuple[str, ...] = (),
    batch_size: int = 8,
    on_batch: Callable[[int], object] = lambda done: None,
) -> list[Reply]:
    """One reply a prompt, in the order of `prompts` (lists of token ids).

    `batch_size` bounds the memory (docs/generation.md) and changes nothing. `on_batch` hears how
    many prompts were just answered.
    """
    rule = StopRule(tokenizer, ends=end_of_turn_ids(model, tokenizer), stop=stop)
    same: dict[tuple[int, ...], list[int]] = {}
    for place, prompt in enumerate(prompts):
        same.setdefault(tuple(prompt), []).append(place)
    longest = longest_in_pages(model) - max_new_tokens
    replies: dict[int, Reply] = {}
    for decoded, chosen in (
        (decode, [prompt for prompt in same if len(prompt) <= longest]),
        (padded_rows, [prompt for prompt in same if len(prompt) > longest]),
    ):
        rows = decoded(
            model,
            chosen,
            max_new_tokens=max_new_tokens,
            ended=lambda index, ids: rule.ends_with_last(ids),
            batch_size=batch_size,
        )
        for index, ids in rows:
            places = same[chosen[index]]
            replies.update(dict.fromkeys(places, cut_reply(ids, rule)))
            on_batch(len(places))
    return [replies[place] for place in range(len(prompts))]


def longest_in_pages(model: LanguageModel) -> float:
    """Tokens of the longest row that decoding.py can attend to; others go through transformers.

    On CPU that is any row of a family that attends through trainers/tree_attention.py, up to
    its sliding window.
    """
    config: Any = model.config
    if model.device.type != "cpu" or config._attn_implementation != NAME:
        return 0
    return getattr(config, "sliding_window", None) or torch.inf
