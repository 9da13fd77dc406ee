"""Helpers of the decoding tests: models, prompts, and the logits of each token of a reply.

replies, logits = answer(peaked("qwen2"), mixed_prompts())      # logits[index, position] [V]
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from tests.trainers.step.plain_step import VOCAB, build_model
from trainers.generation.decode import MAX_DRAFT, decode
from trainers.generation.forward import ReplyToken, most_likely
from trainers.kernels.paged_kv import PROMPT_PAGE, REPLY_PAGE
from trainers.models.load import LanguageModel

END = 2
Logits = dict[ReplyToken, Tensor]


def peaked(name: str = "llama", dtype: torch.dtype = torch.float32, **sizes: Any) -> Any:
    """A model with a peaked distribution, so that not every step is a near-tie."""
    model: Any = build_model(name, dtype=dtype, wide_norms=False, **sizes)
    with torch.no_grad():
        model.get_output_embeddings().weight *= 20
    return model


def tokens(number: int, seed: int) -> list[int]:
    draw = torch.Generator().manual_seed(seed)
    return torch.randint(3, VOCAB, (number,), generator=draw).tolist()


def mixed_prompts() -> list[list[int]]:
    """Prefixes of one another that end at or near page borders, and unrelated prompts."""
    text = tokens(300, 1)
    cuts = [1, 2, 31, 32, 33, 100, 127, 128, 129, 200, 256, 257, 300]
    assert {PROMPT_PAGE, PROMPT_PAGE + 1, 2 * PROMPT_PAGE, REPLY_PAGE} <= {*cuts}
    prefixes = [text[:cut] for cut in cuts]
    branches = [text[:cut] + tokens(n, cut) for cut, n in ((40, 120), (128, 3), (250, 20))]
    return [*prefixes, *branches, tokens(1, 7), tokens(140, 8)]


@torch.inference_mode()
def answer(
    model: LanguageModel,
    prompts: Sequence[Sequence[int]],
    *,
    batch_size: int = 32,
    max_new_tokens: int = 8,
    end: int = END,
    max_draft: int = MAX_DRAFT,
) -> tuple[dict[int, list[int]], Logits]:
    """The replies, and the logits from which each of their tokens was picked."""
    seen: Logits = {}

    def pick(logits_NV: Tensor, which: Sequence[ReplyToken]) -> list[int]:
        seen.update(zip(which, logits_NV.clone(), strict=True))
        return most_likely(logits_NV, which)

    rows = decode(
        model,
        prompts,
        max_new_tokens=max_new_tokens,
        ended=lambda index, ids: ids[-1] == end,
        batch_size=batch_size,
        pick=pick,
        max_draft=max_draft,
    )
    replies = dict(rows)
    # Tokens after a rejected draft token belong to no reply.
    return replies, {(i, k): row for (i, k), row in seen.items() if k < len(replies[i])}
