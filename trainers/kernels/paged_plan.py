"""Plan the kernel calls of a pass: which pages its tokens attend to, in as few calls as possible.

plan = Plan(pool)
plan.add([(WHOLE, 3), (WHOLE, 4), (OWN, 17)])       # pages of token 0, in the order of its row
plan.reads()

A call covers consecutive pages, each with `group` queries, padded with copies: for another number
of queries the kernel may round differently. A page seen by more than `group` tokens is read by
several calls.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import torch
from torch import Tensor

from trainers.kernels.paged_kv import PROMPT_PAGE, REPLY_PAGE, KvCache, PageTable

# Queries per page. An AMX tile has 16 rows: 16 queries take the time of 8, and 1.5 times one's.
GROUP = 16
# From 64 queries the kernel may pack the keys, depending on the number of pages in the call: the
# result for a page could depend on the others.
MAX_QUERIES = 63
# Kinds of pages: full prompt pages (WHOLE), a row's own pages (OWN), and the prompt page that holds
# the querying prompt token itself, in parts (PARTS, PARTS + 1, ...). Parts have the size of OWN
# pages: the end of one prompt, in OWN pages, may be the middle of a longer prompt, in a prompt
# page, and both must be summed in the same pieces to give the same bits.
WHOLE, OWN, PARTS = 0, 1, 2


@dataclass(frozen=True)
class Call:
    """One kernel call over pages [start, stop), keys [offset, offset + size) of each.

    Attributes:
        tokens: [num_pages * group], the token in each slot.
        firsts: [num_pages * group], the position in the row of the slot's first key, for the causal
            mask; None where all tokens see all keys.
    """

    pages: PageTable
    start: int
    stop: int
    offset: int
    size: int
    tokens: Tensor
    firsts: Tensor | None


@dataclass(frozen=True)
class Reads:
    """The kernel calls of a pass over N tokens.

    Attributes:
        parts: parts_PN, for each token its slots in page order, counted from 1 over the outputs of
            all calls; 0 where a token has fewer than P parts.
    """

    calls: tuple[Call, ...]
    parts: Tensor


@dataclass
class Reader:
    """Pages of one kind, or one part of each.

    Attributes:
        seen: page -> (position in the row of its first key, tokens that attend to it).
    """

    pages: PageTable
    offset: int
    size: int
    group: int
    is_masked: bool
    seen: dict[int, tuple[int, list[int]]] = field(default_factory=dict)

    def runs(self) -> Iterator[list[tuple[int, int]]]:
        """(index of the first of `group` tokens, page) pairs, in runs of consecutive pages."""
        pairs = sorted(
            (first_token, page)
            for page, (_, tokens) in self.seen.items()
            for first_token in range(0, len(tokens), self.group)
        )
        cuts = [i + 1 for i, (a, b) in enumerate(pairwise(pairs)) if b != (a[0], a[1] + 1)]
        for start, stop in pairwise([0, *cuts, len(pairs)]):
            if start < stop:
                yield pairs[start:stop]

    def call(self, run: Sequence[tuple[int, int]]) -> Call:
        """The kernel call of a run."""
        tokens: list[int] = []
        firsts: list[int] = []
        for first_token, page in run:
            first, seen_by = self.seen[page]
            chosen = seen_by[first_token : first_token + self.group]
            tokens += chosen + chosen[:1] * (self.group - len(chosen))
            firsts += [first] * self.group
        return Call(
            self.pages,
            run[0][1],
            run[-1][1] + 1,
            self.offset,
            self.size,
            torch.tensor(tokens),
            torch.tensor(firsts) if self.is_masked else None,
        )


class Plan:
    """Collects, token by token, the pages that a pass reads."""

    def __init__(self, pool: KvCache, *, reply_group: int | None = None) -> None:
        """Plan reads of `pool`.

        Args:
            reply_group: queries per OWN page; by default as many as for the other kinds. 1 in
                passes over replies, where few tokens of one row see such a page.
        """
        # Query heads that share a key-value head count as queries of its page.
        repeat = pool.shape.heads // pool.shape.kv_heads
        group = max(1, GROUP // repeat)
        assert group * repeat <= MAX_QUERIES
        parts = range(0, PROMPT_PAGE, REPLY_PAGE)
        self._readers = (
            Reader(pool.prompt, 0, PROMPT_PAGE, group, is_masked=False),
            Reader(pool.reply, 0, REPLY_PAGE, reply_group or group, is_masked=True),
            *(Reader(pool.prompt, start, REPLY_PAGE, group, is_masked=True) for start in parts),
        )
        self._paths: list[list[tuple[int, int]]] = []

    def add(self, seen: Sequence[tuple[int, int]]) -> None:
        """Add the next token.

        Args:
            seen: (kind, page) pairs in the order of its row: WHOLE or OWN pages, or PARTS + i of
                the prompt page that holds the token, up to the part with the token itself.
        """
        token, first = len(self._paths), 0
        for kind, page in seen:
            reader = self._readers[kind]
            reader.seen.setdefault(page, (first, []))[1].append(token)
            first += reader.size
        self._paths.append(list(seen))

    def reads(self) -> Reads:
        """The calls for all tokens added so far."""
        calls: list[Call] = []
        slots: list[dict[tuple[int, int], int]] = [{} for _ in self._paths]
        size = 1  # slot 0 is the part of weight 0 that fills up short rows
        for kind, reader in enumerate(self._readers):
            for run in reader.runs():
                for i, (first_token, page) in enumerate(run):
                    tokens = reader.seen[page][1][first_token : first_token + reader.group]
                    for slot, token in enumerate(tokens, start=size + i * reader.group):
                        slots[token][kind, page] = slot
                calls.append(reader.call(run))
                size += len(run) * reader.group
        parts = [
            [slot_of[page] for page in path]
            for slot_of, path in zip(slots, self._paths, strict=True)
        ]
        longest = max(map(len, parts))
        filled = [row + [0] * (longest - len(row)) for row in parts]
        return Reads(tuple(calls), torch.tensor(filled).t().contiguous())
