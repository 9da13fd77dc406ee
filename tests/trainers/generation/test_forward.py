"""How many passes rows take, which go together, what pages they use."""

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


class Count:
    """Tokens of each pass over a model's decoder."""

    def __init__(self, model: Any) -> None:
        self.sizes: list[int] = []
        model.get_decoder().register_forward_pre_hook(self._hear, with_kwargs=True)

    def _hear(self, module: Any, args: Any, kwargs: Any) -> None:
        self.sizes.append(kwargs["input_ids"].numel())


def reported(replies: Sequence[Sequence[int]]) -> Any:
    """Picks the tokens of given replies, whatever the logits are."""

    def pick(logits_NV: Tensor, which: Sequence[ReplyToken]) -> list[int]:
        return [replies[i][k] if k < len(replies[i]) else 0 for i, k in which]

    return pick


@torch.inference_mode()
def tell(
    model: Any, prompts: Sequence[Sequence[int]], replies: Sequence[Sequence[int]], **how: Any
) -> list[tuple[int, list[int]]]:
    """Decode so that the replies are given ones."""
    how = {"batch_size": 32, "max_new_tokens": 500} | how
    ended = lambda index, ids: len(ids) == len(replies[index])  # noqa: E731
    return [*decode(model, prompts, ended=ended, pick=reported(replies), **how)]


def test_the_place_of_a_row_that_ends_is_taken_at_once() -> None:
    model = peaked()
    count, sizes = Count(model), pass_sizes(torch.float32)
    prompts = [[3 + i] for i in range(5)]
    replies = [tokens(n, n) for n in (11, 3, 1, 4, 6)]
    ends = tell(model, prompts, replies, batch_size=2, max_draft=0)
    assert ends == [(i, replies[i]) for i in (2, 1, 3, 0, 4)]
    # Row 0 has 10 tokens to go after its first; rows 1 (2), 3 (3) and 4 (5) run at the same time.
    assert count.sizes.count(sizes.reply) == 10
    # With rows 0 and 1 started row 2, which could have waited, with row 3 row 4, which did.
    assert count.sizes.count(sizes.prompt) == 2


def test_a_shared_prefix_is_computed_once() -> None:
    model = peaked()
    count, size = Count(model), pass_sizes(torch.float32).prompt
    text = tokens(4 * size - 32, 1)
    prompts = [[*text, 3 + i] for i in range(32)]
    tell(model, prompts, [[5]] * 32)
    assert count.sizes == [size] * 4
    # In a later group only the page is computed again in which the prefix ends.
    count.sizes.clear()
    tell(model, prompts[:9], [[5]] * 9, batch_size=1)
    assert count.sizes == [size] * (4 + 8)


def test_a_row_may_end_with_its_first_token() -> None:
    model = peaked()
    count = Count(model)
    assert sorted(tell(model, [[5], [6]], [[7], [8]])) == [(0, [7]), (1, [8])]
    assert sorted(tell(model, [[5], [6]], [[7] * 9, [8] * 9], max_new_tokens=1)) == [
        (0, [7]),
        (1, [8]),
    ]
    assert count.sizes == [pass_sizes(torch.float32).prompt] * 2


def test_no_prompts_take_no_pass() -> None:
    assert tell(peaked(), [], []) == []


def test_right_guesses_save_passes_and_wrong_ones_change_nothing() -> None:
    model = peaked()
    count, size = Count(model), pass_sizes(torch.float32).reply
    circle = [[7, 8, 9, 10, 11] * 12]
    assert tell(model, [[5, 6]], circle) == [(0, circle[0])]
    # 60 tokens: 1 with the prompt, 5 before one comes again, the rest 9 a pass.
    assert count.sizes.count(size) == 5 + 6
    with_guesses = answer(model, mixed_prompts(), max_new_tokens=40)
    num_with = len(count.sizes)
    without = answer(model, mixed_prompts(), max_new_tokens=40, max_draft=0)
    assert num_with < len(count.sizes) - num_with, "no guess was right"
    assert with_guesses[0] == without[0]
    assert all(torch.equal(row, with_guesses[1][place]) for place, row in without[1].items())


def test_pages_come_back_and_no_more_are_used_than_rows_need(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pools: list[KvCache] = []

    def spy(*args: Any, **kwargs: Any) -> KvCache:
        pools.append(make_pool(*args, **kwargs))
        return pools[-1]

    monkeypatch.setattr(decoding, "make_pool", spy)
    text = tokens(3 * PROMPT_PAGE, 1)
    prompts = [[*text, *tokens(10, i)] for i in range(40)]
    tell(peaked(), prompts, [tokens(30, i) for i in range(40)], batch_size=4)
    [pool] = pools
    # The last prompt's whole pages wait for one that could follow.
    assert (pool.prompt.num_used, pool.reply.num_used) == (3, 0)
    assert pool.prompt.num_touched == 3, "a shared prefix is kept once"
    # 4 rows with 2 pages each, 2 that wait with one.
    assert pool.reply.num_touched <= 4 * 2 + 2
