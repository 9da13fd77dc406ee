"""Greedy replies: left-padded batches, a stop per sequence, the batch size changes nothing.

[reply] = greedy_replies(model, tokenizer, [prompt_ids], max_new_tokens=64, stop=(";",))
reply.text == "SELECT COUNT(*) FROM rutas"
"""

from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, cast

import torch
from transformers import DynamicCache, LogitsProcessor, LogitsProcessorList
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
    """Cut new token ids behind the first end-of-turn token or the token that completes a stop
    string, whichever is first; what stands behind it is the padding of a batch."""
    end = next((i for i, token in enumerate(ids) if token in ends), None)
    body = list(ids if end is None else ids[:end])

    def text_of(num_tokens: int) -> str:
        return str(tokenizer.decode(body[:num_tokens], skip_special_tokens=False))

    text = text_of(len(body))
    at = min((text.find(s) for s in stop if s in text), default=None)
    if at is None:
        kept = body if end is None else list(ids[: end + 1])
        return Reply(text.strip(), tuple(kept), stopped=end is not None)
    num_kept = bisect_left(range(len(body)), 1, key=lambda n: any(s in text_of(n) for s in stop))
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
        logits_processor=LogitsProcessorList([DecideTiesAlone(model, prompts, ends)]),
        stop_strings=list(stop) or None,
        tokenizer=tokenizer if stop else None,
    )
    rows: list[list[int]] = out[:, width:].tolist()
    return rows


class DecideTiesAlone(LogitsProcessor):
    """Near-ties of a batched step are decided by the logits that the row has on its own.

    A matrix product rounds differently in another batch; where the two best tokens are within
    that rounding, the reply would depend on its neighbours. A row's own logits come from a cache
    of its own, fed one token at a time, as if it were generated alone: at worst that is the cost
    of generating it alone, and only rows with a near-tie pay it.
    """

    # Of the largest logit: the largest difference measured between a batch and a row alone.
    MARGIN: ClassVar = {torch.bfloat16: 2.0**-4, torch.float16: 2.0**-7, torch.float32: 2.0**-13}

    def __init__(
        self, model: LanguageModel, prompts: Sequence[Sequence[int]], ends: Sequence[int]
    ) -> None:
        self._model, self._prompts = model, prompts
        self._ends = torch.tensor(list(ends))
        self._width = max(len(p) for p in prompts)
        self._margin = self.MARGIN.get(model.dtype, 0.0)
        self._alone: dict[int, Alone] = {}

    def __call__(self, input_ids: torch.LongTensor, scores: torch.FloatTensor) -> torch.FloatTensor:
        best = scores.topk(2).values
        close = best[:, 0] - best[:, 1] < self._margin * scores.abs().amax(1)
        new = input_ids[:, self._width :].cpu()
        ended = torch.isin(new, self._ends).any(1).to(close.device)
        for row in (close & ~ended).nonzero().flatten().tolist():
            alone = self._alone.setdefault(row, Alone(self._model, self._prompts[row]))
            scores[row] = alone.logits_after(new[row].tolist())
        return scores


class Alone:
    """The next-token logits of one row, unbatched and unpadded."""

    def __init__(self, model: LanguageModel, prompt: Sequence[int]) -> None:
        self._model, self._cache = model, DynamicCache(config=model.config)
        self._pending, self._num_fed = [list(prompt)], 0
        self._logits: torch.Tensor | None = None

    def logits_after(self, new_ids: Sequence[int]) -> torch.Tensor:
        """Logits [V] after the prompt and `new_ids`, which only ever grow."""
        self._pending += [[token] for token in new_ids[self._num_fed :]]
        self._num_fed = len(new_ids)
        for ids in self._pending:
            out = self._model(
                input_ids=torch.tensor([ids], device=self._model.device),
                past_key_values=self._cache,
                use_cache=True,
                logits_to_keep=1,
            )
            self._logits = out.logits[0, -1]
        self._pending = []
        assert self._logits is not None
        return self._logits
