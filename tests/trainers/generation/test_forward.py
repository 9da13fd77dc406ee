"""Number of passes, which sequences are batched together, and the pages they use."""

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.trainers.generation.decode_rows import answer, mixed_prompts, peaked, tokens
from trainers.generation import decode as decoding
from trainers.generation.decode import decode, make_pool
from trainers.generation.forward import ReplyToken, pass_sizes
from trainers.kernels.paged_kv import PROMPT_PAGE, KvCache


class PassSizeRecorder:
    """Tokens of each pass over a model's decoder."""

    def __init__(self, model: Any) -> None:
        self.sizes: list[int] = []
        model.get_decoder().register_forward_pre_hook(self._record, with_kwargs=True)

    def _record(self, module: Any, args: Any, kwargs: Any) -> None:
        self.sizes.append(kwargs["input_ids"].numel())


def forced(replies: Sequence[Sequence[int]]) -> Any:
    """A picker of the tokens of given replies, whatever the logits are."""

    def pick(logits_NV: Tensor, which: Sequence[ReplyToken]) -> list[int]:
        return [replies[i][k] if k < len(replies[i]) else 0 for i, k in which]

    return pick


@torch.inference_mode()
def decode_forced(
    model: Any, prompts: Sequence[Sequence[int]], replies: Sequence[Sequence[int]], **options: Any
) -> list[tuple[int, list[int]]]:
    """Decode with forced replies."""
    options = {"batch_size": 32, "max_new_tokens": 500} | options
    ended = lambda index, ids: len(ids) == len(replies[index])  # noqa: E731
    return [*decode(model, prompts, ended=ended, pick=forced(replies), **options)]


def test_a_slot_is_refilled_as_soon_as_its_sequence_ends() -> None:
    model = peaked()
    passes, sizes = PassSizeRecorder(model), pass_sizes(torch.float32)
    prompts = [[3 + i] for i in range(5)]
    replies = [tokens(n, n) for n in (11, 3, 1, 4, 6)]
    ends = decode_forced(model, prompts, replies, batch_size=2, max_draft=0)
    assert ends == [(i, replies[i]) for i in (2, 1, 3, 0, 4)]
    # Sequence 0 decodes 10 tokens after its first. The other slot runs 1 (2), 3 (3), 4 (5).
    assert passes.sizes.count(sizes.reply) == 10
    # Sequence 2 was prefilled with 0 and 1, and could have waited; 4 was with 3, and did wait.
    assert passes.sizes.count(sizes.prompt) == 2


def test_a_shared_prefix_is_computed_once() -> None:
    model = peaked()
    passes, size = PassSizeRecorder(model), pass_sizes(torch.float32).prompt
    text = tokens(4 * size - 32, 1)
    prompts = [[*text, 3 + i] for i in range(32)]
    decode_forced(model, prompts, [[5]] * 32)
    assert passes.sizes == [size] * 4
    # A later group computes only the page in which the prefix ends again.
    passes.sizes.clear()
    decode_forced(model, prompts[:9], [[5]] * 9, batch_size=1)
    assert passes.sizes == [size] * (4 + 8)


def test_a_sequence_may_end_with_its_first_token() -> None:
    model = peaked()
    passes = PassSizeRecorder(model)
    assert sorted(decode_forced(model, [[5], [6]], [[7], [8]])) == [(0, [7]), (1, [8])]
    assert sorted(decode_forced(model, [[5], [6]], [[7] * 9, [8] * 9], max_new_tokens=1)) == [
        (0, [7]),
        (1, [8]),
    ]
    assert passes.sizes == [pass_sizes(torch.float32).prompt] * 2


def test_no_prompts_take_no_pass() -> None:
    assert decode_forced(peaked(), [], []) == []


def test_accepted_drafts_save_passes_and_rejected_ones_change_nothing() -> None:
    model = peaked()
    passes, size = PassSizeRecorder(model), pass_sizes(torch.float32).reply
    cycle = [[7, 8, 9, 10, 11] * 12]
    assert decode_forced(model, [[5, 6]], cycle) == [(0, cycle[0])]
    # 60 tokens: 1 with the prompt, 5 before one repeats, the rest 9 per pass.
    assert passes.sizes.count(size) == 5 + 6
    with_drafts = answer(model, mixed_prompts(), max_new_tokens=40)
    num_with = len(passes.sizes)
    without = answer(model, mixed_prompts(), max_new_tokens=40, max_draft=0)
    assert num_with < len(passes.sizes) - num_with, "no draft was accepted"
    assert with_drafts[0] == without[0]
    assert all(torch.equal(row, with_drafts[1][token]) for token, row in without[1].items())


def test_pages_are_freed_and_no_more_are_used_than_needed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pools: list[KvCache] = []

    def spy(*args: Any, **kwargs: Any) -> KvCache:
        pools.append(make_pool(*args, **kwargs))
        return pools[-1]

    monkeypatch.setattr(decoding, "make_pool", spy)
    text = tokens(3 * PROMPT_PAGE, 1)
    prompts = [[*text, *tokens(10, i)] for i in range(40)]
    decode_forced(peaked(), prompts, [tokens(30, i) for i in range(40)], batch_size=4)
    [pool] = pools
    # The full pages of the last prompt are held for a next prompt.
    assert (pool.prompt.num_used, pool.reply.num_used) == (3, 0)
    assert pool.prompt.num_touched == 3, "a shared prefix is stored once"
    # 4 running sequences with 2 pages each, 2 waiting ones with one.
    assert pool.reply.num_touched <= 4 * 2 + 2
