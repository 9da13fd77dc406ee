"""The keys of prompts: neighbours in sorted order share their prefixes.

a whole page that a prompt shares with the one before it is the same page
a page that it shares in part is one of its own, into which the same keys are written too
so each distinct prefix of a group of prompts is computed once (datasets_src/batching/trie.py)
"""

from dataclasses import dataclass, field

import torch
from torch import Tensor

from trainers.generation.forward import DecodeSequence, ForwardPass, Input
from trainers.kernels.paged_kv import PROMPT_PAGE, KvCache
from trainers.kernels.paged_plan import Plan


@dataclass
class Group:
    """Prompts that start together, and their T distinct tokens.

    owners: the row that brings each. writes: pairs (which of the T, slot). lasts: which of the T is
    the last of each row.
    """

    rows: list[DecodeSequence] = field(default_factory=list)
    inputs: list[Input] = field(default_factory=list)
    owners: list[DecodeSequence] = field(default_factory=list)
    prompt_writes: list[tuple[int, int]] = field(default_factory=list)
    reply_writes: list[tuple[int, int]] = field(default_factory=list)
    lasts: list[int] = field(default_factory=list)
    # Which of the T is at each place of the last row; -1 where it stands in an earlier group.
    path: list[int] = field(default_factory=list)

    def add(self, pool: KvCache, row: DecodeSequence, before: DecodeSequence | None) -> None:
        """Append a row; `before` is the one before it in sorted order, its whole pages in use."""
        shared, num_same = row.num_shared, row.num_shared // PROMPT_PAGE
        same = num_same * PROMPT_PAGE
        if not self.rows:
            self.path = [-1] * same
        if shared > same and (len(self.path) == same or self.path[same] < 0):
            shared = same  # of an earlier group only whole pages are at hand
        if before is not None:
            row.whole += before.whole[:num_same]
            pool.prompt.share(row.whole)
        row.whole += [pool.prompt.take() for _ in range(num_same, row.num_prompt // PROMPT_PAGE)]
        row.reserve(pool, row.num_prompt)
        num_new = row.num_prompt - shared
        self.path[shared:] = range(len(self.inputs), len(self.inputs) + num_new)
        self.inputs += [(row.tokens[p], p) for p in range(shared, row.num_prompt)]
        self.owners += [row] * num_new
        for position in range(same, row.num_prompt):
            writes = self.prompt_writes if position < row.rest_start else self.reply_writes
            writes.append((self.path[position], row.slot(position)))
        self.lasts.append(self.path[-1])
        self.rows.append(row)


def prefill(passes: ForwardPass, group: Group) -> list[int]:
    """Compute the keys of the group; the first new token of each row."""
    size = passes.sizes.prompt
    starts = range(0, len(group.inputs), size)
    hidden_TC = torch.cat([_hidden(passes, group, start, start + size) for start in starts])
    return passes.pick(hidden_TC[group.lasts], [(row.index, 0) for row in group.rows])


def _hidden(passes: ForwardPass, group: Group, start: int, stop: int) -> Tensor:
    """States of the tokens [start, stop)."""
    plan, inputs = Plan(passes.pool), group.inputs[start:stop]
    for (_, position), row in zip(inputs, group.owners[start:stop], strict=True):
        plan.add(row.seen_from(position))
    writes = [
        (pages, [(token - start, slot) for token, slot in pairs if start <= token < stop])
        for pages, pairs in (
            (passes.pool.prompt, group.prompt_writes),
            (passes.pool.reply, group.reply_writes),
        )
    ]
    return passes.hidden(inputs, stop - start, plan.reads(), writes)
