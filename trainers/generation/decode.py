"""Greedy decoding of many rows at once, each token exactly as if its row were alone.

for index, new_ids in decode(model, prompts, max_new_tokens=64, ended=ended, batch_size=32):
    ...                                    # in the order in which the rows end

What is computed for a token does not depend on which other tokens are there (forward.py). So the
next row takes the place of one that ends at once, prompts share the keys of their prefixes
(prefill.py), and places that no row needs try what a row may say next (ngram_drafts.py).
"""

import heapq
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from datasets_src.batching.trie import shared_lengths, sort_rows
from trainers.generation.forward import (
    DecodeSequence,
    ForwardPass,
    Pick,
    activations_on_one_thread,
    most_likely,
    shape_of,
    sizes_of,
)
from trainers.generation.ngram_drafts import NgramDrafts
from trainers.generation.prefill import Group, prefill
from trainers.kernels.paged_kv import PROMPT_PAGE, REPLY_PAGE, KvCache
from trainers.models.load import LanguageModel

MAX_DRAFT = 8
Said = Iterable[tuple[DecodeSequence, list[int]]]


@dataclass(frozen=True)
class Limit:
    """What ends a row: `ended` by its index and its new tokens, or their number.

    max_draft: tokens that are guessed ahead at most.
    """

    ended: Callable[[int, Sequence[int]], bool]
    max_new_tokens: int
    max_draft: int

    def append(self, row: DecodeSequence, tokens: Iterable[int]) -> bool:
        """Add new tokens to the row up to the one that ends it; whether one does."""
        for token in tokens:
            row.tokens.append(token)
            reply = row.reply
            if len(reply) == self.max_new_tokens or self.ended(row.index, reply):
                return True
        return False


def decode(
    model: LanguageModel,
    prompts: Sequence[Sequence[int]],
    *,
    max_new_tokens: int,
    ended: Callable[[int, Sequence[int]], bool],
    batch_size: int,
    pick: Pick = most_likely,
    max_draft: int = MAX_DRAFT,
) -> Iterator[tuple[int, list[int]]]:
    """The new tokens of each prompt (all different, none empty), with its index, as it ends.

    Args:
        ended: whether the prompt of that index ends with the last of these new tokens.
        batch_size: rows that are extended together, at most sizes_of(dtype).reply of them; half as
            many may wait with their prompts computed. It changes no token.
        max_draft: tokens of a row that are tried ahead at most. It changes none either.
    """
    if not prompts:
        return
    limit = Limit(ended, max_new_tokens, max_draft)
    num_rows = min(batch_size, sizes_of(model.dtype).reply)
    pool = make_pool(model, prompts, max_new_tokens=max_new_tokens, num_rows=num_rows)
    batch = Batch(ForwardPass(model, pool, pick), Queue(prompts, pool), num_rows, limit)
    with activations_on_one_thread(model):
        while batch.live or batch.ready or batch.queue:
            for row in batch.advance():
                yield row.index, row.reply


class Batch:
    """Rows that are extended, and rows whose prompt is computed and that wait for a place."""

    def __init__(self, passes: ForwardPass, queue: "Queue", num_rows: int, limit: Limit) -> None:
        self.live: list[DecodeSequence] = []
        self.ready: deque[DecodeSequence] = deque()
        self.queue = queue
        self._passes, self._num_rows, self._limit = passes, num_rows, limit
        self._drafts = NgramDrafts()

    def advance(self) -> list[DecodeSequence]:
        """Start rows if places are free, else extend those there are; the rows that end."""
        missing = self._num_rows - len(self.live) - len(self.ready)
        said = self._start(missing) if missing > 0 and self.queue else self._extend()
        done = []
        for row, tokens in said:
            start = len(row.tokens) if row.reply else row.num_shared
            if self._limit.append(row, tokens):
                done.append(row)
            self._drafts.learn(row.tokens, start)
        for row in done:
            row.release(self._passes.pool)
            (self.live if row in self.live else self.ready).remove(row)
        return done

    def _start(self, num: int) -> Said:
        """So many rows or, where their prompts do not fill a pass, some more."""
        most = num + self._num_rows // 2
        group = self.queue.take(num, most, tokens=self._passes.sizes.prompt)
        self.ready += group.rows
        return zip(group.rows, ([token] for token in prefill(self._passes, group)), strict=True)

    def _extend(self) -> Said:
        while self.ready and len(self.live) < self._num_rows:
            self.live.append(self.ready.popleft())
        return zip(self.live, self._passes.extend(self.live, self._guesses()), strict=True)

    def _guesses(self) -> list[list[int]]:
        """What each row may say next, in the places that a pass has left."""
        spare = self._passes.sizes.reply - len(self.live)
        guesses = []
        for num_left, row in zip(range(len(self.live), 0, -1), self.live, strict=True):
            left = self._limit.max_new_tokens - len(row.reply) - 1
            most = min(self._limit.max_draft, spare // num_left, left)
            guesses.append(self._drafts.guess(row.tokens, most))
            spare -= len(guesses[-1])
        return guesses


class Queue:
    """Prompts that wait, in sorted order, and the pages that the next one shares."""

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

    def take(self, least: int, most: int, *, tokens: int) -> Group:
        """The next `least` rows, and up to `most` as long as they bring fewer than `tokens`."""
        group, before = Group(), self._last
        while self._waiting and len(group.rows) < most:
            if len(group.rows) >= least and len(group.inputs) >= tokens:
                break
            row = self._waiting.popleft()
            group.add(self._pool, row, self._last)
            self._last = row
        # The next row may share the last one's pages, though that may have ended by then.
        assert self._last is not None
        self._pool.prompt.share(self._last.whole)
        if before is not None:
            self._pool.prompt.drop(before.whole)
        return group


def make_pool(
    model: LanguageModel,
    prompts: Sequence[Sequence[int]],
    *,
    max_new_tokens: int,
    num_rows: int,
) -> KvCache:
    """Pages for any `num_rows` of the prompts with their replies, and half as many that wait.

    Sharing is not counted: what is not needed of the pool takes no memory.
    """
    whole = [len(prompt) // PROMPT_PAGE for prompt in prompts]
    rest = [len(prompt) % PROMPT_PAGE for prompt in prompts]
    own = [-(-(tokens + max_new_tokens) // REPLY_PAGE) for tokens in rest]
    num_held = num_rows + num_rows // 2
    return KvCache(
        shape_of(model),
        # One more: the last row to be started, whose pages the next may share.
        num_prompt=sum(heapq.nlargest(num_held + 1, whole)),
        num_reply=sum(heapq.nlargest(num_held, own)),
    )
