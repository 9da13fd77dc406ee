"""Passes of a model over a fixed number of tokens, and the rows that they extend.

A matrix product rounds differently for another number of rows, but of a fixed number none depends
on the others. So a pass always has as many tokens, filled up, and with attention over pages
(paged_attention.py) what is computed for a token is a function of the tokens before it in its row.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from peft import PeftModel
from torch import Tensor, nn

from trainers.kernels.attention import NO_MASK
from trainers.kernels.paged_attention import PagedAttentionInputs
from trainers.kernels.paged_kv import PROMPT_PAGE, REPLY_PAGE, KvCache, PageTable, Shape
from trainers.kernels.paged_plan import OWN, PARTS, WHOLE, Plan, Reads
from trainers.models.load import LanguageModel

Input = tuple[int, int]  # a token and its position in the row
Place = tuple[int, int]  # the index of a prompt, and how many new tokens stand before this one
Pick = Callable[[Tensor, Sequence[Place]], list[int]]


def most_likely(logits_NV: Tensor, places: Sequence[Place]) -> list[int]:
    """The token of the largest logit, of several the first."""
    # Twenty times as fast as argmax in bfloat16.
    best: list[int] = logits_NV.max(-1).indices.tolist()
    return best


@dataclass(eq=False)
class DecodeSequence:
    """A prompt of `num_prompt` tokens with its reply, and its pages: `whole` ones, which the prompt
    fills, and `rest`, from there on.

    num_shared: tokens that it has in common with the row before it in sorted order.
    """

    index: int
    tokens: list[int]
    num_prompt: int
    num_shared: int
    whole: list[int] = field(default_factory=list)
    rest: list[int] = field(default_factory=list)

    @property
    def reply(self) -> list[int]:
        """The new tokens."""
        return self.tokens[self.num_prompt :]

    @property
    def rest_start(self) -> int:
        """Position at which the first page of `rest` begins."""
        return self.num_prompt // PROMPT_PAGE * PROMPT_PAGE

    def slot(self, position: int) -> int:
        """page * size + place, of the kind of pages that the position has."""
        if position < self.rest_start:
            page, place = divmod(position, PROMPT_PAGE)
            return self.whole[page] * PROMPT_PAGE + place
        page, place = divmod(position - self.rest_start, REPLY_PAGE)
        return self.rest[page] * REPLY_PAGE + place

    def seen_from(self, position: int) -> list[tuple[int, int]]:
        """(kind, page) pairs that the token there sees, in order."""
        num_whole = min(position // PROMPT_PAGE, len(self.whole))
        num_more = (position - num_whole * PROMPT_PAGE) // REPLY_PAGE + 1
        seen = [(WHOLE, page) for page in self.whole[:num_whole]]
        if position < self.rest_start:
            return seen + [(PARTS + i, self.whole[num_whole]) for i in range(num_more)]
        return seen + [(OWN, page) for page in self.rest[:num_more]]

    def reserve(self, pool: KvCache, num_tokens: int) -> None:
        """Have pages for the first so many tokens, of which `whole` are there."""
        while self.rest_start + len(self.rest) * REPLY_PAGE < num_tokens:
            self.rest.append(pool.reply.take())

    def release(self, pool: KvCache) -> None:
        """Give the pages back."""
        pool.prompt.drop(self.whole)
        pool.reply.drop(self.rest)


@dataclass(frozen=True)
class Sizes:
    """Tokens of a pass that extends replies, and of one over prompts."""

    reply: int
    prompt: int


def sizes_of(dtype: torch.dtype) -> Sizes:
    """Of the passes in `dtype` on this machine, where they decide how sums are rounded.

    With AMX 32 tokens take the time of one, in which the weights are read, and 256 half of that of
    four times 64. With AVX512_BF16 alone 16 and 64 reach its speed.
    """
    if dtype == torch.bfloat16 and not torch.cpu._is_amx_tile_supported():
        return Sizes(reply=16, prompt=64)
    return Sizes(reply=32, prompt=256)


def shape_of(model: LanguageModel) -> Shape:
    """Of the model's keys."""
    config: Any = model.config
    width = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    return Shape(
        layers=config.num_hidden_layers,
        heads=config.num_attention_heads,
        kv_heads=config.num_key_value_heads,
        width=width,
        dtype=model.dtype,
    )


class ForwardPass:
    """A model, a pool of pages, and what picks a token by its logits."""

    def __init__(self, model: LanguageModel, pool: KvCache, pick: Pick = most_likely) -> None:
        base: Any = model.get_base_model() if isinstance(model, PeftModel) else model
        self._decoder, self._head = base.get_decoder(), base.get_output_embeddings()
        self.pool, self.sizes, self._pick = pool, sizes_of(pool.shape.dtype), pick

    def extend(
        self, rows: Sequence[DecodeSequence], drafts: Sequence[Sequence[int]]
    ) -> list[list[int]]:
        """The next tokens of each row: one, and one more for each token of its draft up to the
        first wrong one. At most `sizes.reply` tokens go in: the last of each row, and drafts."""
        inputs: list[Input] = []
        places: list[Place] = []
        slots: list[int] = []
        plan = Plan(self.pool, reply_group=1)
        for row, draft in zip(rows, drafts, strict=True):
            row.reserve(self.pool, len(row.tokens) + len(draft))
            for i, token in enumerate([row.tokens[-1], *draft], start=len(row.tokens) - 1):
                inputs.append((token, i))
                places.append((row.index, i + 1 - row.num_prompt))
                slots.append(row.slot(i))
                plan.add(row.seen_from(i))
        writes = [(self.pool.reply, list(enumerate(slots)))]
        hidden_NC = self.hidden(inputs, self.sizes.reply, plan.reads(), writes)
        picked = iter(self.pick(hidden_NC, places))
        return [_agreed(draft, [next(picked) for _ in range(len(draft) + 1)]) for draft in drafts]

    def hidden(
        self,
        inputs: Sequence[Input],
        size: int,
        reads: Reads,
        writes: Iterable[tuple[PageTable, Sequence[tuple[int, int]]]],
    ) -> Tensor:
        """[N, C] of N inputs, in a pass over `size` tokens."""
        filled = torch.tensor([*inputs, *[(0, 0)] * (size - len(inputs))])
        ids, positions = filled.t().contiguous()
        out: Tensor = self._decoder(
            input_ids=ids[None],
            position_ids=positions[None],
            attention_mask=NO_MASK,
            use_cache=False,
            pages=PagedAttentionInputs(self.pool, reads, positions=positions, writes=writes),
        ).last_hidden_state[0]
        return out[: len(inputs)]

    def pick(self, hidden_NC: Tensor, places: Sequence[Place]) -> list[int]:
        """The token after each state; the head runs on `sizes.reply` of them at a time."""
        size = self.sizes.reply
        picked: list[int] = []
        for start in range(0, len(places), size):
            part = hidden_NC[start : start + size]
            states = torch.nn.functional.pad(part, (0, 0, 0, size - len(part)))
            picked += self._pick(self._head(states)[: len(part)], places[start : start + size])
        return picked


@contextmanager
def activations_on_one_thread(model: nn.Module) -> Iterator[None]:
    """In this context an activation function gives each number the same value at any place.

    A thread's share of a large tensor ends with up to 31 numbers that torch computes one by one,
    and in float32 SiLU of one number may differ from that of a vector by its last bit. Two shares
    of a pass have no such end.
    """
    num_threads = torch.get_num_threads()
    hooks = []
    for name, module in model.named_modules():
        if num_threads > 2 and name.endswith("act_fn"):
            hooks += [
                module.register_forward_pre_hook(lambda *_: torch.set_num_threads(1)),
                module.register_forward_hook(lambda *_: torch.set_num_threads(num_threads)),
            ]
    try:
        yield
    finally:
        torch.set_num_threads(num_threads)
        for hook in hooks:
            hook.remove()


def _agreed(draft: Sequence[int], said: Sequence[int]) -> list[int]:
    """What was said up to and with the first token that the draft has otherwise."""
    num_right = next((i for i, token in enumerate(draft) if token != said[i]), len(draft))
    return list(said[: num_right + 1])
