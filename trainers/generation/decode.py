"""Greedy decoding with continuous batching: every token exactly as if its sequence ran alone.

for index, new_ids in decode(model, prompts, max_new_tokens=64, ended=ended, batch_size=32):
    ...                                    # in the order in which the sequences end

A token's values do not depend on which other tokens are computed with it (forward.py). So a slot is
refilled as soon as its sequence ends, prompts share the keys of their prefixes (prefill.py), and
places of a pass that no sequence needs verify n-gram drafts (ngram_drafts.py).
"""

import heapq
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from datasets_src.batching.trie import shared_lengths, sort_rows
from trainers.generation.forward import (
    DecodeSequence,
    ForwardPass,
    TokenPicker,
    activations_on_one_thread,
    most_likely,
    pass_sizes,
    shape_of,
)
from trainers.generation.ngram_drafts import NgramDrafts
from trainers.generation.prefill import PrefillGroup, prefill
from trainers.kernels.paged_kv import PROMPT_PAGE, REPLY_PAGE, KvCache
from trainers.models.load import LanguageModel

MAX_DRAFT = 8
Emitted = Iterable[tuple[DecodeSequence, list[int]]]


@dataclass(frozen=True)
class DecodeLimits:
    """What ends a sequence: `ended(index, new tokens)`, or `max_new_tokens`.

    max_draft: length limit of a draft, in tokens.
    """

    ended: Callable[[int, Sequence[int]], bool]
    max_new_tokens: int
    max_draft: int

    def append(self, sequence: DecodeSequence, tokens: Iterable[int]) -> bool:
        """Append emitted tokens up to the one that ends the sequence; True if one does."""
        for token in tokens:
            sequence.tokens.append(token)
            reply = sequence.reply
            if len(reply) == self.max_new_tokens or self.ended(sequence.index, reply):
                return True
        return False


def decode(
    model: LanguageModel,
    prompts: Sequence[Sequence[int]],
    *,
    max_new_tokens: int,
    ended: Callable[[int, Sequence[int]], bool],
    batch_size: int,
    pick: TokenPicker = most_likely,
    max_draft: int = MAX_DRAFT,
) -> Iterator[tuple[int, list[int]]]:
    """Yield (index of a prompt, its new tokens) as sequences end.

    Args:
        prompts: all different, none empty.
        ended: whether the sequence of that prompt index ends with the last of these new tokens.
        batch_size: slots, at most pass_sizes(dtype).reply; half as many sequences more may be
            prefilled and wait. It affects memory and speed, not the tokens.
        max_draft: length limit of a draft, in tokens; 0 turns speculative decoding off. It affects
            speed, not the tokens.
    """
    if not prompts:
        return
    limits = DecodeLimits(ended, max_new_tokens, max_draft)
    num_slots = min(batch_size, pass_sizes(model.dtype).reply)
    pool = make_pool(model, prompts, max_new_tokens=max_new_tokens, num_slots=num_slots)
    batch = ContinuousBatch(
        ForwardPass(model, pool, pick), PromptQueue(prompts, pool), num_slots, limits
    )
    with activations_on_one_thread(model):
        while batch.running or batch.prefilled or batch.queue:
            for sequence in batch.advance():
                yield sequence.index, sequence.reply


class ContinuousBatch:
    """Sequences in slots (`running`), and prefilled ones that wait for a slot."""

    def __init__(
        self, passes: ForwardPass, queue: "PromptQueue", num_slots: int, limits: DecodeLimits
    ) -> None:
        self.running: list[DecodeSequence] = []
        self.prefilled: deque[DecodeSequence] = deque()
        self.queue = queue
        self._passes, self._num_slots, self._limits = passes, num_slots, limits
        self._drafts = NgramDrafts()

    def advance(self) -> list[DecodeSequence]:
        """Prefill prompts if slots are free, else decode; return the sequences that end."""
        num_free = self._num_slots - len(self.running) - len(self.prefilled)
        emitted = self._prefill(num_free) if num_free > 0 and self.queue else self._decode()
        done = []
        for sequence, tokens in emitted:
            start = len(sequence.tokens) if sequence.reply else sequence.num_shared
            if self._limits.append(sequence, tokens):
                done.append(sequence)
            self._drafts.learn(sequence.tokens, start)
        for sequence in done:
            sequence.release(self._passes.pool)
            (self.running if sequence in self.running else self.prefilled).remove(sequence)
        return done

    def _prefill(self, num: int) -> Emitted:
        """Prefill `num` prompts, and some more where these do not fill a pass."""
        most = num + self._num_slots // 2
        group = self.queue.take(num, most, min_tokens=self._passes.sizes.prompt)
        self.prefilled += group.sequences
        first_tokens = prefill(self._passes, group)
        return zip(group.sequences, ([token] for token in first_tokens), strict=True)

    def _decode(self) -> Emitted:
        while self.prefilled and len(self.running) < self._num_slots:
            self.running.append(self.prefilled.popleft())
        return zip(self.running, self._passes.extend(self.running, self._draft_all()), strict=True)

    def _draft_all(self) -> list[list[int]]:
        """A draft for each running sequence, sharing the places that a pass has left."""
        spare = self._passes.sizes.reply - len(self.running)
        drafts = []
        for num_left, sequence in zip(range(len(self.running), 0, -1), self.running, strict=True):
            left = self._limits.max_new_tokens - len(sequence.reply) - 1
            most = min(self._limits.max_draft, spare // num_left, left)
            drafts.append(self._drafts.draft(sequence.tokens, most))
            spare -= len(drafts[-1])
        return drafts


class PromptQueue:
    """Waiting prompts in sorted order, and the pages that the next one may share."""

    def __init__(self, prompts: Sequence[Sequence[int]], pool: KvCache) -> None:
        order = sort_rows(prompts)
        shared = [0, *shared_lengths([prompts[i] for i in order])]
        self._waiting = deque(
            DecodeSequence(i, list(prompts[i]), len(prompts[i]), num_shared)
            for i, num_shared in zip(order, shared, strict=True)
        )
        self._pool = pool
        self._last: DecodeSequence | None = None

    def __bool__(self) -> bool:
        return bool(self._waiting)

    def take(self, least: int, most: int, *, min_tokens: int) -> PrefillGroup:
        """The next `least` sequences, and up to `most` while they have fewer than `min_tokens`
        tokens to compute."""
        group, before = PrefillGroup(), self._last
        while self._waiting and len(group.sequences) < most:
            if len(group.sequences) >= least and len(group.inputs) >= min_tokens:
                break
            sequence = self._waiting.popleft()
            group.add(self._pool, sequence, self._last)
            self._last = sequence
        # Hold the last sequence's prompt pages: the next one may share them after it has ended.
        assert self._last is not None
        self._pool.prompt.share(self._last.prompt_pages)
        if before is not None:
            self._pool.prompt.drop(before.prompt_pages)
        return group


def make_pool(
    model: LanguageModel,
    prompts: Sequence[Sequence[int]],
    *,
    max_new_tokens: int,
    num_slots: int,
) -> KvCache:
    """A cache that holds any `num_slots` of the prompts with their replies, and half as many more
    that wait.

    Prefix sharing is not counted: pages that are never used take no memory.
    """
    num_full = [len(prompt) // PROMPT_PAGE for prompt in prompts]
    rest = [len(prompt) % PROMPT_PAGE for prompt in prompts]
    num_own = [-(-(tokens + max_new_tokens) // REPLY_PAGE) for tokens in rest]
    num_held = num_slots + num_slots // 2
    return KvCache(
        shape_of(model),
        # One more: the sequence started last, whose pages the next may share.
        num_prompt=sum(heapq.nlargest(num_held + 1, num_full)),
        num_reply=sum(heapq.nlargest(num_held, num_own)),
    )
