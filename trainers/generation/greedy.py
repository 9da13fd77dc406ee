"""Greedy replies, each cut at its own stop and independent of the other prompts and batch size.

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
    """One reply per prompt, in the order of `prompts`.

    Args:
        prompts: token ids.
        batch_size: bounds memory (docs/generation.md); replies do not depend on it.
        on_batch: called with the number of prompts just answered.
    """
    rule = StopRule(tokenizer, ends=end_of_turn_ids(model, tokenizer), stop=stop)
    indices: dict[tuple[int, ...], list[int]] = {}  # equal prompts are answered once
    for i, prompt in enumerate(prompts):
        indices.setdefault(tuple(prompt), []).append(i)
    longest = longest_in_pages(model) - max_new_tokens
    replies: dict[int, Reply] = {}
    for decode_prompts, chosen in (
        (decode, [prompt for prompt in indices if len(prompt) <= longest]),
        (padded_rows, [prompt for prompt in indices if len(prompt) > longest]),
    ):
        sequences = decode_prompts(
            model,
            chosen,
            max_new_tokens=max_new_tokens,
            ended=lambda index, ids: rule.ends_with_last(ids),
            batch_size=batch_size,
        )
        for index, ids in sequences:
            equal = indices[chosen[index]]
            replies.update(dict.fromkeys(equal, cut_reply(ids, rule)))
            on_batch(len(equal))
    return [replies[i] for i in range(len(prompts))]


def longest_in_pages(model: LanguageModel) -> float:
    """Maximum length, in tokens, of a sequence that decode.py takes; others use transformers.

    It takes sequences on CPU, of a family that attends through kernels/attention.py, up to its
    sliding window.
    """
    config: Any = model.config
    if model.device.type != "cpu" or config._attn_implementation != NAME:
        return 0
    return getattr(config, "sliding_window", None) or torch.inf
