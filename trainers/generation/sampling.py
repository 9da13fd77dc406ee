"""Replies under a generation preset: greedy, sampled, or by contrastive search.

[reply] = preset_replies(model, tokenizer, [prompt_ids], row_ids=["s0007"], preset=PRESETS["doi"],
                         seed=42, max_new_tokens=64, stop=(";",), batch_size=8)

A sampled reply depends only on the seed, the row's id and its prompt: each row is generated alone
with its own random generator. In a batch, logits round differently, and a draw close to the border
between two tokens would depend on the rest of the batch.
"""

import hashlib
from collections.abc import Callable, Sequence
from typing import Any

import torch
from transformers import (
    DynamicCache,
    LogitsProcessor,
    LogitsProcessorList,
    RepetitionPenaltyLogitsProcessor,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)
from transformers.tokenization_utils_base import PreTrainedTokenizerBase

from datasets_src.chat.families import Preset
from trainers.generation.contrastive import contrastive_ids
from trainers.generation.greedy import greedy_replies
from trainers.generation.replies import (
    Reply,
    StopRule,
    cut_reply,
    end_of_turn_ids,
    with_opened_thinking,
)
from trainers.models.load import LanguageModel

Logits = Callable[[Sequence[int], torch.Tensor], torch.Tensor]


def preset_replies(
    model: LanguageModel,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[Sequence[int]],
    *,
    row_ids: Sequence[str],
    preset: Preset,
    seed: int,
    max_new_tokens: int,
    stop: tuple[str, ...] = (),
    batch_size: int = 8,
    on_batch: Callable[[int], object] = lambda done: None,
) -> list[Reply]:
    """One reply per prompt, in the order of `prompts`.

    Args:
        prompts: token ids.
        row_ids: ids of the prompts' rows, which seed sampling.
        batch_size: bounds memory under greedy decoding; replies do not depend on it.
        on_batch: called with the number of prompts just answered.
    """
    if preset.strategy == "greedy":
        replies = greedy_replies(
            model,
            tokenizer,
            prompts,
            max_new_tokens=max_new_tokens,
            stop=stop,
            batch_size=batch_size,
            on_batch=on_batch,
        )
        return with_opened_thinking(tokenizer, prompts, replies)
    rule = StopRule(tokenizer, ends=end_of_turn_ids(model, tokenizer), stop=stop)

    def is_done(ids: Sequence[int]) -> bool:
        return len(ids) >= max_new_tokens or rule.ends_with_last(ids)

    replies = []
    for row_id, prompt in zip(row_ids, prompts, strict=True):
        ids = _new_ids(model, prompt, preset, is_done, torch_seed(seed, row_id))
        replies.append(cut_reply(ids, rule))
        on_batch(1)
    return with_opened_thinking(tokenizer, prompts, replies)


def torch_seed(seed: int, row_id: str) -> int:
    """The seed of a row's random generator, from the run's seed and the row's id."""
    digest = hashlib.sha256(f"{seed}:{row_id}".encode()).digest()
    return int.from_bytes(digest[:8], "big", signed=True)


def _new_ids(
    model: LanguageModel,
    prompt: Sequence[int],
    preset: Preset,
    is_done: Callable[[Sequence[int]], bool],
    seed: int,
) -> list[int]:
    shape = shape_logits(preset)
    if preset.strategy == "contrastive":
        alpha, top_k = preset.penalty_alpha, preset.top_k
        return contrastive_ids(
            model, prompt, alpha=alpha, top_k=top_k, shape=shape, is_done=is_done
        )
    return sampled_ids(model, prompt, shape=shape, is_done=is_done, seed=seed)


def shape_logits(preset: Preset) -> Logits:
    """The function (all ids so far, next-token logits [V]) -> logits [V] processed per `preset`.

    It leaves top_k to contrastive search, which takes the candidates itself.
    """
    processors: list[LogitsProcessor] = []
    if preset.repetition_penalty != 1:
        processors.append(RepetitionPenaltyLogitsProcessor(preset.repetition_penalty))
    if preset.temperature != 1:
        processors.append(TemperatureLogitsWarper(preset.temperature))
    if preset.top_k and preset.strategy == "sampling":
        processors.append(TopKLogitsWarper(preset.top_k))
    if preset.top_p < 1:
        processors.append(TopPLogitsWarper(preset.top_p))
    both: Any = LogitsProcessorList(processors)

    def shape(ids: Sequence[int], logits_V: torch.Tensor) -> torch.Tensor:
        shaped: torch.Tensor = both(torch.tensor([list(ids)]), logits_V[None].float().cpu())
        return shaped[0]

    return shape


@torch.inference_mode()
def sampled_ids(
    model: LanguageModel,
    prompt: Sequence[int],
    *,
    shape: Logits,
    is_done: Callable[[Sequence[int]], bool],
    seed: int,
) -> list[int]:
    """New token ids of one prompt, sampled on CPU from softmax(shape(ids, logits))."""
    generator = torch.Generator().manual_seed(seed)
    cache = DynamicCache(config=model.config)
    new: list[int] = []
    pending = list(prompt)
    while not new or not is_done(new):
        out = model(
            input_ids=torch.tensor([pending], device=model.device),
            past_key_values=cache,
            use_cache=True,
            logits_to_keep=1,
        )
        shaped_V = shape([*prompt, *new], out.logits[0, -1])
        drawn = torch.multinomial(shaped_V.softmax(-1), 1, generator=generator)
        pending = [int(drawn)]
        new += pending
    return new
