"""Forward passes over a fixed number of tokens, and the sequences they extend.

A matrix product rounds a row differently when the number of rows changes; with a fixed number, no
row depends on the others. So a pass is always padded to the same number of tokens, and with paged
attention (paged_attention.py) a token's values depend only on the tokens before it in its sequence.
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

InputToken = tuple[int, int]  # token id, position in the sequence
ReplyToken = tuple[int, int]  # which token is picked: index of the prompt, position in its reply
TokenPicker = Callable[[Tensor, Sequence[ReplyToken]], list[int]]


def most_likely(logits_NV: Tensor, which: Sequence[ReplyToken]) -> list[int]:
    """The token with the largest logit, the first on a tie."""
    # `max` is twenty times as fast as `argmax` in bfloat16.
    best: list[int] = logits_NV.max(-1).indices.tolist()
    return best


@dataclass(eq=False)
class DecodeSequence:
    """A prompt of `num_prompt` tokens with its reply, and its pages of the KV cache.

    Attributes:
        tokens: prompt and new tokens.
        num_shared: length of the prefix shared with the sequence before it in sorted order.
        prompt_pages: pages that the prompt fills; sequences can share them.
        own_pages: pages of the rest of the prompt and of the reply.
    """

    index: int
    tokens: list[int]
    num_prompt: int
    num_shared: int
    prompt_pages: list[int] = field(default_factory=list)
    own_pages: list[int] = field(default_factory=list)

    @property
    def reply(self) -> list[int]:
        """The new tokens."""
        return self.tokens[self.num_prompt :]

    @property
    def own_start(self) -> int:
        """First position in `own_pages`."""
        return self.num_prompt // PROMPT_PAGE * PROMPT_PAGE

    def slot(self, position: int) -> int:
        """Slot of a position among the pages of its kind: page * page size + offset."""
        if position < self.own_start:
            page, offset = divmod(position, PROMPT_PAGE)
            return self.prompt_pages[page] * PROMPT_PAGE + offset
        page, offset = divmod(position - self.own_start, REPLY_PAGE)
        return self.own_pages[page] * REPLY_PAGE + offset

    def visible_pages(self, position: int) -> list[tuple[int, int]]:
        """(kind, page) pairs that the token at `position` attends to, in order (paged_plan.py)."""
        num_full = min(position // PROMPT_PAGE, len(self.prompt_pages))
        num_more = (position - num_full * PROMPT_PAGE) // REPLY_PAGE + 1
        visible = [(WHOLE, page) for page in self.prompt_pages[:num_full]]
        if position < self.own_start:
            return visible + [(PARTS + i, self.prompt_pages[num_full]) for i in range(num_more)]
        return visible + [(OWN, page) for page in self.own_pages[:num_more]]

    def reserve(self, pool: KvCache, num_tokens: int) -> None:
        """Allocate own pages for the first `num_tokens` positions."""
        while self.own_start + len(self.own_pages) * REPLY_PAGE < num_tokens:
            self.own_pages.append(pool.reply.take())

    def release(self, pool: KvCache) -> None:
        """Give up all pages."""
        pool.prompt.drop(self.prompt_pages)
        pool.reply.drop(self.own_pages)


@dataclass(frozen=True)
class PassSizes:
    """Tokens of a decode pass, and of a prefill pass."""

    reply: int
    prompt: int


def pass_sizes(dtype: torch.dtype) -> PassSizes:
    """Sizes of the passes in `dtype` on this machine; they determine how sums are rounded.

    With AMX, 32 tokens take the time of one, that of reading the weights, and 256 take half the
    time of four times 64. With AVX512_BF16 alone, 16 and 64 reach its speed.
    """
    if dtype == torch.bfloat16 and not torch.cpu._is_amx_tile_supported():
        return PassSizes(reply=16, prompt=64)
    return PassSizes(reply=32, prompt=256)


def shape_of(model: LanguageModel) -> Shape:
    """The shape of the model's keys and values."""
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
    """Runs a model over a KV cache and picks tokens from its logits."""

    def __init__(
        self, model: LanguageModel, pool: KvCache, pick: TokenPicker = most_likely
    ) -> None:
        base: Any = model.get_base_model() if isinstance(model, PeftModel) else model
        self._decoder, self._head = base.get_decoder(), base.get_output_embeddings()
        self.pool, self.sizes, self._pick = pool, pass_sizes(pool.shape.dtype), pick

    def extend(
        self, sequences: Sequence[DecodeSequence], drafts: Sequence[Sequence[int]]
    ) -> list[list[int]]:
        """One decode pass; returns the emitted tokens of each sequence.

        These are the accepted prefix of its draft and the token after that. The inputs are the last
        token of each sequence and all drafts, at most `sizes.reply` tokens.
        """
        inputs: list[InputToken] = []
        which: list[ReplyToken] = []
        slots: list[int] = []
        plan = Plan(self.pool, reply_group=1)
        for sequence, draft in zip(sequences, drafts, strict=True):
            last = len(sequence.tokens) - 1
            sequence.reserve(self.pool, len(sequence.tokens) + len(draft))
            for i, token in enumerate([sequence.tokens[-1], *draft], start=last):
                inputs.append((token, i))
                which.append((sequence.index, i + 1 - sequence.num_prompt))
                slots.append(sequence.slot(i))
                plan.add(sequence.visible_pages(i))
        writes = [(self.pool.reply, list(enumerate(slots)))]
        hidden_NC = self.hidden(inputs, self.sizes.reply, plan.reads(), writes)
        picked = iter(self.pick(hidden_NC, which))
        return [_accepted(draft, [next(picked) for _ in range(len(draft) + 1)]) for draft in drafts]

    def hidden(
        self,
        inputs: Sequence[InputToken],
        size: int,
        reads: Reads,
        writes: Iterable[tuple[PageTable, Sequence[tuple[int, int]]]],
    ) -> Tensor:
        """Hidden states [N, C] of N inputs, in a pass padded to `size` tokens."""
        padded = torch.tensor([*inputs, *[(0, 0)] * (size - len(inputs))])
        ids, positions = padded.t().contiguous()
        out: Tensor = self._decoder(
            input_ids=ids[None],
            position_ids=positions[None],
            attention_mask=NO_MASK,
            use_cache=False,
            pages=PagedAttentionInputs(self.pool, reads, positions=positions, writes=writes),
        ).last_hidden_state[0]
        return out[: len(inputs)]

    def pick(self, hidden_NC: Tensor, which: Sequence[ReplyToken]) -> list[int]:
        """The token after each hidden state; the head runs on `sizes.reply` of them at a time."""
        size = self.sizes.reply
        picked: list[int] = []
        for start in range(0, len(which), size):
            part = hidden_NC[start : start + size]
            states = torch.nn.functional.pad(part, (0, 0, 0, size - len(part)))
            picked += self._pick(self._head(states)[: len(part)], which[start : start + size])
        return picked


@contextmanager
def activations_on_one_thread(model: nn.Module) -> Iterator[None]:
    """In this context an activation function is independent of a number's index in the tensor.

    torch splits a large tensor over threads. A thread's share ends with up to 31 numbers that are
    computed one by one, and in float32 scalar SiLU may differ from vector SiLU in the last bit. The
    shares of two threads have no such remainder.
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


def _accepted(draft: Sequence[int], picked: Sequence[int]) -> list[int]:
    """The picked tokens up to and including the first one that differs from the draft."""
    num_right = next((i for i, token in enumerate(draft) if token != picked[i]), len(draft))
    return list(picked[: num_right + 1])
