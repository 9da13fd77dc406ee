"""Which pages the tokens of a pass attend to, as few calls of the attention kernel.

plan = Plan(pool)
plan.add([(WHOLE, 3), (WHOLE, 4), (OWN, 17)])       # what token 0 sees, in the order of its row
plan.reads()

A call has as many queries for each page as any call of its kind, filled up with copies, and takes
pages that follow one another. Pages seen by few tokens take one call, others one every `group`.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import torch
from torch import Tensor

from trainers.kernels.paged_kv import PROMPT_PAGE, REPLY_PAGE, KvCache, PageTable

# Queries a page. A tile of AMX has 16 rows: 16 take the time of 8, and 1.5 times that of one.
GROUP = 16
# From 64 queries on the kernel may pack the keys, depending on the number of pages in the call.
MAX_QUERIES = 63
# Kinds of pages: those of prompts as all who see them whole do, a row's own, and part by part the
# page of a prompt in which a token of the prompt stands itself. The parts are as long as a row's
# own pages, for that is where the end of a prompt lies, which may be the middle of a longer one.
WHOLE, OWN, PARTS = 0, 1, 2


@dataclass(frozen=True)
class Call:
    """The kernel over pages [start, stop), of each the keys [offset, offset + size).

    tokens [num * group]: the token at each place. firsts, likewise: the position of its first key
    in the row; None where all tokens see all keys.
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
    """The calls of a pass over N tokens.

    parts [P, N]: where each token's parts lie, in page order, in the outputs of all calls one after
    the other, counted from 1; 0 for none.
    """

    calls: tuple[Call, ...]
    parts: Tensor


@dataclass
class Reader:
    """Pages of one kind, whole or a part of each: where it begins in its row, who sees it."""

    pages: PageTable
    offset: int
    size: int
    group: int
    is_masked: bool
    seen: dict[int, tuple[int, list[int]]] = field(default_factory=dict)

    def runs(self) -> Iterator[list[tuple[int, int]]]:
        """(number of its first token, page) pairs, in runs of pages that follow one another."""
        pairs = sorted(
            (number, page)
            for page, (_, tokens) in self.seen.items()
            for number in range(0, len(tokens), self.group)
        )
        cuts = [i + 1 for i, (a, b) in enumerate(pairwise(pairs)) if b != (a[0], a[1] + 1)]
        for start, stop in pairwise([0, *cuts, len(pairs)]):
            if start < stop:
                yield pairs[start:stop]

    def call(self, run: Sequence[tuple[int, int]]) -> Call:
        """The call of a run."""
        tokens: list[int] = []
        firsts: list[int] = []
        for number, page in run:
            first, seen_by = self.seen[page]
            chosen = seen_by[number : number + self.group]
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
    """The reads of a pass, token by token."""

    def __init__(self, pool: KvCache, *, reply_group: int | None = None) -> None:
        """reply_group: tokens for each of a row's own pages, if not as many as for the others."""
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
        """The next token sees these (kind, page) pairs of its row, in order: WHOLE or OWN pages, or
        those of the last kinds: of a prompt's page, part after part, what is not behind it."""
        token, first = len(self._paths), 0
        for kind, page in seen:
            reader = self._readers[kind]
            reader.seen.setdefault(page, (first, []))[1].append(token)
            first += reader.size
        self._paths.append(list(seen))

    def reads(self) -> Reads:
        """The calls for all tokens that were added."""
        calls: list[Call] = []
        where: list[dict[tuple[int, int], int]] = [{} for _ in self._paths]
        size = 1
        for kind, reader in enumerate(self._readers):
            for run in reader.runs():
                for i, (number, page) in enumerate(run):
                    tokens = reader.seen[page][1][number : number + reader.group]
                    for place, token in enumerate(tokens, start=size + i * reader.group):
                        where[token][kind, page] = place
                calls.append(reader.call(run))
                size += len(run) * reader.group
        parts = [
            [places[step] for step in path] for places, path in zip(where, self._paths, strict=True)
        ]
        longest = max(map(len, parts))
        filled = [row + [0] * (longest - len(row)) for row in parts]
        return Reads(tuple(calls), torch.tensor(filled).t().contiguous())
