"""Prefill: compute the keys of prompts, each shared prefix once.

Neighbours in sorted order share prefixes (datasets_src/batching/trie.py). A full page that a prompt
shares with the one before it is the same page, with one more user. A page that it shares in part is
its own: the shared keys are computed once and written into both.
"""

from dataclasses import dataclass, field

import torch
from torch import Tensor

from trainers.generation.forward import DecodeSequence, ForwardPass, InputToken
from trainers.kernels.paged_kv import PROMPT_PAGE, KvCache
from trainers.kernels.paged_plan import Plan


@dataclass
class PrefillGroup:
    """Prompts that are prefilled together, and their T distinct tokens.

    Attributes:
        inputs: the T tokens to compute; owners: the sequence that brings each.
        prompt_writes, reply_writes: (index into the T, slot) pairs, by kind of page.
        lasts: index into the T of each prompt's last token.
        path: index into the T at each position of the last sequence; -1 where an earlier group
            computed it.
    """

    sequences: list[DecodeSequence] = field(default_factory=list)
    inputs: list[InputToken] = field(default_factory=list)
    owners: list[DecodeSequence] = field(default_factory=list)
    prompt_writes: list[tuple[int, int]] = field(default_factory=list)
    reply_writes: list[tuple[int, int]] = field(default_factory=list)
    lasts: list[int] = field(default_factory=list)
    path: list[int] = field(default_factory=list)

    def add(self, pool: KvCache, sequence: DecodeSequence, before: DecodeSequence | None) -> None:
        """Add a sequence; `before` precedes it in sorted order, and its prompt pages are held."""
        shared, num_same = sequence.num_shared, sequence.num_shared // PROMPT_PAGE
        same = num_same * PROMPT_PAGE
        if not self.sequences:
            self.path = [-1] * same
        if shared > same and (len(self.path) == same or self.path[same] < 0):
            shared = same  # an earlier group's partly filled page cannot be shared
        if before is not None:
            sequence.prompt_pages += before.prompt_pages[:num_same]
            pool.prompt.share(sequence.prompt_pages)
        num_full = sequence.num_prompt // PROMPT_PAGE
        sequence.prompt_pages += [pool.prompt.take() for _ in range(num_same, num_full)]
        sequence.reserve(pool, sequence.num_prompt)
        num_new = sequence.num_prompt - shared
        self.path[shared:] = range(len(self.inputs), len(self.inputs) + num_new)
        self.inputs += [(sequence.tokens[p], p) for p in range(shared, sequence.num_prompt)]
        self.owners += [sequence] * num_new
        for position in range(same, sequence.num_prompt):
            in_prompt_page = position < sequence.own_start
            writes = self.prompt_writes if in_prompt_page else self.reply_writes
            writes.append((self.path[position], sequence.slot(position)))
        self.lasts.append(self.path[-1])
        self.sequences.append(sequence)


def prefill(passes: ForwardPass, group: PrefillGroup) -> list[int]:
    """Compute the keys of the group; return the first new token of each sequence."""
    size = passes.sizes.prompt
    starts = range(0, len(group.inputs), size)
    hidden_TC = torch.cat([_hidden(passes, group, start, start + size) for start in starts])
    return passes.pick(hidden_TC[group.lasts], [(s.index, 0) for s in group.sequences])


def _hidden(passes: ForwardPass, group: PrefillGroup, start: int, stop: int) -> Tensor:
    """Hidden states [N, C] of the group's tokens [start, stop)."""
    plan, inputs = Plan(passes.pool), group.inputs[start:stop]
    for (_, position), sequence in zip(inputs, group.owners[start:stop], strict=True):
        plan.add(sequence.visible_pages(position))
    writes = [
        (pages, [(token - start, slot) for token, slot in pairs if start <= token < stop])
        for pages, pairs in (
            (passes.pool.prompt, group.prompt_writes),
            (passes.pool.reply, group.reply_writes),
        )
    ]
    return passes.hidden(inputs, stop - start, plan.reads(), writes)
