"""Greedy decoding by transformers' `generate`: on CUDA, for Falcon, beyond a sliding window.

for index, new_ids in padded_rows(model, prompts, max_new_tokens=64, ended=ended, batch_size=8):
    ...
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, ClassVar, cast

import torch
from torch import Tensor
from transformers import (
    DynamicCache,
    LogitsProcessor,
    LogitsProcessorList,
    StoppingCriteria,
    StoppingCriteriaList,
)

from trainers.models.load import LanguageModel

PAD = 0  # masked by position, never compared with a token id


def padded_rows(
    model: LanguageModel,
    prompts: Sequence[Sequence[int]],
    *,
    max_new_tokens: int,
    ended: Callable[[int, Sequence[int]], bool],
    batch_size: int,
) -> Iterator[tuple[int, list[int]]]:
    """As `decode.decode`, in left-padded batches of prompts of similar length."""
    order = sorted(range(len(prompts)), key=lambda i: len(prompts[i]), reverse=True)
    for start in range(0, len(order), batch_size):
        batch = order[start : start + batch_size]
        rows = [prompts[i] for i in batch]
        ends = StopPerRow(batch, ended, width=max(map(len, rows)))
        yield from zip(batch, _generate(model, rows, max_new_tokens, ends), strict=True)


def _generate(
    model: LanguageModel,
    prompts: Sequence[Sequence[int]],
    max_new_tokens: int,
    ends: "StopPerRow",
) -> list[list[int]]:
    width = ends.width
    input_ids = torch.tensor([[PAD] * (width - len(p)) + list(p) for p in prompts])
    mask = torch.tensor([[0] * (width - len(p)) + [1] * len(p) for p in prompts])
    out: Tensor = cast(Any, model).generate(
        input_ids=input_ids.to(model.device),
        attention_mask=mask.to(model.device),
        max_new_tokens=max_new_tokens,
        do_sample=False,
        temperature=None,
        top_p=None,
        top_k=None,
        num_beams=1,
        pad_token_id=PAD,
        logits_processor=LogitsProcessorList([DecideTiesAlone(model, prompts, ends)]),
        stopping_criteria=StoppingCriteriaList([ends]),
    )
    rows: list[list[int]] = out[:, width:].tolist()
    return [row[: ends.lengths.get(i)] for i, row in enumerate(rows)]


class StopPerRow(StoppingCriteria):
    """Stops each row of a batch on its own; `lengths`: row -> number of new tokens, once ended."""

    def __init__(
        self, indices: Sequence[int], ended: Callable[[int, Sequence[int]], bool], *, width: int
    ) -> None:
        self.lengths: dict[int, int] = {}
        self.width = width
        self._indices, self._ended = indices, ended

    def __call__(self, input_ids: Tensor, scores: Any, **kwargs: Any) -> Tensor:
        for i, row in enumerate(input_ids[:, self.width :].tolist()):
            if i not in self.lengths and self._ended(self._indices[i], row):
                self.lengths[i] = len(row)
        done = [i in self.lengths for i in range(len(input_ids))]
        return torch.tensor(done, device=input_ids.device)


class DecideTiesAlone(LogitsProcessor):
    """Decides near-ties of a batched step by the logits of the row computed alone.

    A matrix product rounds differently in another batch; where the two best tokens are within that
    rounding, the reply would depend on the rest of the batch. The row's own logits come from a KV
    cache of its own, fed one token at a time. Only rows with a near-tie pay for it, at most the
    cost of generating them alone.
    """

    # The largest difference measured between a batch and a row alone, per largest logit.
    MARGIN: ClassVar = {torch.bfloat16: 2.0**-4, torch.float16: 2.0**-7, torch.float32: 2.0**-13}

    def __init__(
        self, model: LanguageModel, prompts: Sequence[Sequence[int]], ends: StopPerRow
    ) -> None:
        self._model, self._prompts, self._ends = model, prompts, ends
        self._margin = self.MARGIN.get(model.dtype, 0.0)
        self._alone: dict[int, Alone] = {}

    def __call__(self, input_ids: torch.LongTensor, scores: torch.FloatTensor) -> torch.FloatTensor:
        best = scores.topk(2).values
        close = best[:, 0] - best[:, 1] < self._margin * scores.abs().amax(1)
        for row in close.nonzero().flatten().tolist():
            if row not in self._ends.lengths:
                alone = self._alone.setdefault(row, Alone(self._model, self._prompts[row]))
                new_ids = input_ids[row, self._ends.width :].tolist()
                scores[row] = alone.logits_after(new_ids)
        return scores


class Alone:
    """Next-token logits of one row, unbatched and unpadded."""

    def __init__(self, model: LanguageModel, prompt: Sequence[int]) -> None:
        self._model, self._cache = model, DynamicCache(config=model.config)
        self._pending, self._num_fed = [list(prompt)], 0
        self._logits: torch.Tensor | None = None

    def logits_after(self, new_ids: Sequence[int]) -> torch.Tensor:
        """Logits [V] after the prompt and `new_ids`, which extend those of the last call."""
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
