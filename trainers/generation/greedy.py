"""Greedy replies: a stop per sequence; neither the other prompts nor the batch size change one.

[reply] = greedy_replies(model, tokenizer, [prompt_ids], max_new_tokens=64, stop=(";",))
reply.text == "SELECT COUNT(*) FROM rutas"
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from transformers.tokenization_utils_base import PreTrainedTokenizerBase

from trainers.generation.decode import decode
from trainers.generation.hf_generate import padded_rows
from trainers.generation.replies import Reply, StopRule, cut_reply, end_of_turn_ids
from trainers.kernels.attention import NAME
from trainers.models.load import LanguageModel


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
    """Maximum length, in tokens, of a row that decode.py can attend to; others use transformers.

    On CPU that is any row of a family that attends through kernels/attention.py, up to its
    sliding window.
    """
    config: Any = model.config
    if model.device.type != "cpu" or config._attn_implementation != NAME:
        return 0
    return getattr(config, "sliding_window", None) or torch.inf
