"""Greedy replies: left-padded batches, a stop per sequence, the batch size changes nothing.

[reply] = greedy_replies(model, tokenizer, [prompt_ids], max_new_tokens=64, stop=(";",))
reply.text == "SELECT COUNT(*) FROM rutas"
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, cast

import torch
from transformers import LogitsProcessor, LogitsProcessorList
from transformers.tokenization_utils_base import PreTrainedTokenizerBase

from trainers.model import LanguageModel


@dataclass(frozen=True)
class Reply:
    """`ids` are all new tokens up to and with the stop; `text` is before it.

    `stopped` is False where max_new_tokens ended the reply.
    """

    text: str
    ids: tuple[int, ...]
    stopped: bool


def end_of_turn_ids(model: LanguageModel, tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """Token ids that end a reply: the generation config's and the tokenizer's eos."""
    config = getattr(model, "generation_config", None)
    ids = config.eos_token_id if config is not None else None
    listed = [] if ids is None else [ids] if isinstance(ids, int) else list(ids)
    if isinstance(tokenizer.eos_token_id, int):
        listed.append(tokenizer.eos_token_id)
    assert listed, "a model without an end-of-turn token never stops"
    return sorted(set(listed))


def cut_reply(
    ids: Sequence[int],
    tokenizer: PreTrainedTokenizerBase,
    *,
    ends: Sequence[int],
    stop: Sequence[str],
) -> Reply:
    """Cut new token ids at the first end-of-turn token and their text at the first stop string."""
    kept = list(ids)
    end = next((i for i, token in enumerate(kept) if token in ends), None)
    body = kept if end is None else kept[:end]
    text = str(tokenizer.decode(body, skip_special_tokens=False))
    at = min((text.find(s) for s in stop if s in text), default=None)
    return Reply(
        text=(text if at is None else text[:at]).strip(),
        ids=tuple(kept if end is None else kept[: end + 1]),
        stopped=end is not None or at is not None,
    )


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

    Prompts of like length go together, so that little is padded. `on_batch` hears how many
    prompts were just answered.
    """
    ends = end_of_turn_ids(model, tokenizer)
    order = sorted(range(len(prompts)), key=lambda i: len(prompts[i]), reverse=True)
    replies: dict[int, Reply] = {}
    for start in range(0, len(order), batch_size):
        batch = order[start : start + batch_size]
        rows = _generate(model, tokenizer, [prompts[i] for i in batch], max_new_tokens, ends, stop)
        for index, row in zip(batch, rows, strict=True):
            replies[index] = cut_reply(row, tokenizer, ends=ends, stop=stop)
        on_batch(len(batch))
    return [replies[i] for i in range(len(prompts))]


def _generate(
    model: LanguageModel,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[Sequence[int]],
    max_new_tokens: int,
    ends: list[int],
    stop: tuple[str, ...],
) -> list[list[int]]:
    width = max(len(p) for p in prompts)
    # The pad id is masked by position, so any id serves; it is compared with nothing.
    pad = ends[0]
    input_ids = torch.tensor([[pad] * (width - len(p)) + list(p) for p in prompts])
    mask = torch.tensor([[0] * (width - len(p)) + [1] * len(p) for p in prompts])
    out: torch.Tensor = cast(Any, model).generate(
        input_ids=input_ids.to(model.device),
        attention_mask=mask.to(model.device),
        max_new_tokens=max_new_tokens,
        do_sample=False,
        temperature=None,
        top_p=None,
        top_k=None,
        num_beams=1,
        eos_token_id=ends,
        pad_token_id=pad,
        logits_processor=LogitsProcessorList([DecideTiesAlone(model, mask, ends)]),
        stop_strings=list(stop) or None,
        tokenizer=tokenizer if stop else None,
    )
    rows: list[list[int]] = out[:, width:].tolist()
    return rows


class DecideTiesAlone(LogitsProcessor):
    """Near-ties of a batched step are decided by an unbatched, unpadded forward of that row.

    A matrix product rounds differently in another batch; where the two best tokens are within
    that rounding, the reply would depend on its neighbours. Every other step does not.
    """

    # Of the largest logit: eight units in the last place of bfloat16, far above float32's noise.
    MARGIN: ClassVar = {torch.bfloat16: 2.0**-5, torch.float16: 2.0**-8, torch.float32: 1e-4}

    def __init__(self, model: LanguageModel, mask: torch.Tensor, ends: Sequence[int]) -> None:
        self._model, self._ends = model, torch.tensor(list(ends))
        self._width = mask.shape[1]
        self._first = (self._width - mask.sum(1)).tolist()
        self._margin = self.MARGIN.get(model.dtype, 0.0)

    def __call__(self, input_ids: torch.LongTensor, scores: torch.FloatTensor) -> torch.FloatTensor:
        best = scores.topk(2).values
        close = best[:, 0] - best[:, 1] < self._margin * scores.abs().amax(1)
        ended = torch.isin(input_ids[:, self._width :].cpu(), self._ends).any(1).to(close.device)
        for row in (close & ~ended).nonzero().flatten().tolist():
            alone = input_ids[row : row + 1, self._first[row] :]
            scores[row] = self._model(input_ids=alone, use_cache=False, logits_to_keep=1).logits[
                0, -1
            ]
        return scores
