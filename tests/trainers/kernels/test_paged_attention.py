"""Paged attention equals SDPA with a mask; the plans of its kernel calls."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from trainers.generation.forward import DecodeSequence
from trainers.kernels.paged_attention import PagedAttentionInputs, merge
from trainers.kernels.paged_kv import PROMPT_PAGE, REPLY_PAGE, KvCache, Shape
from trainers.kernels.paged_plan import GROUP, OWN, PARTS, WHOLE, Plan


def make_pool(kv_heads: int, dtype: torch.dtype = torch.float64) -> KvCache:
    shape = Shape(layers=1, heads=4, kv_heads=kv_heads, width=16, dtype=dtype)
    return KvCache(shape, num_prompt=8, num_reply=20)


def take_row(pool: KvCache, num_prompt: int, num_tokens: int) -> DecodeSequence:
    """A row with pages for all its tokens, in no particular order."""
    row = DecodeSequence(0, [0] * num_tokens, num_prompt, 0)
    row.prompt_pages = [pool.prompt.take() for _ in range(num_prompt // PROMPT_PAGE)][::-1]
    row.reserve(pool, num_tokens)
    row.own_pages.reverse()
    return row


def writes(
    pool: KvCache, row: DecodeSequence, positions: range
) -> list[tuple[object, list[tuple[int, int]]]]:
    of_prompt = [(i, row.slot(p)) for i, p in enumerate(positions) if p < row.own_start]
    own = [(i, row.slot(p)) for i, p in enumerate(positions) if p >= row.own_start]
    return [(pool.prompt, of_prompt), (pool.reply, own)]


@pytest.mark.parametrize("kv_heads", [4, 2, 1])
@pytest.mark.parametrize("reply_group", [1, None])
@pytest.mark.parametrize(
    ("num_prompt", "num_tokens"), [(300, 310), (256, 257), (20, 90), (128, 128)]
)
def test_values_equal_causal_attention(
    kv_heads: int, reply_group: int | None, num_prompt: int, num_tokens: int
) -> None:
    pool = make_pool(kv_heads)
    row = take_row(pool, num_prompt, num_tokens)
    torch.manual_seed(0)
    query, key, value = (
        torch.randn(1, h, num_tokens, 16).double() for h in (4, kv_heads, kv_heads)
    )
    got: list[Tensor] = []
    # The prompt is written and read first, in two passes, and then the reply.
    for positions in (range(10), range(10, num_prompt), range(num_prompt, num_tokens)):
        if len(positions):
            plan = Plan(pool, reply_group=reply_group)
            for position in positions:
                plan.add(row.visible_pages(position))
            step = PagedAttentionInputs(
                pool,
                plan.reads(),
                positions=torch.tensor([*positions, 0, 0]),  # two padding tokens
                writes=writes(pool, row, positions),  # type: ignore[arg-type]
            )
            q, k, v = (
                F.pad(x[:, :, positions.start : positions.stop], (0, 0, 0, 2))
                for x in (query, key, value)
            )
            out = step.attend(0, q, k, v, 0.3)
            assert torch.equal(out[:, -2:], torch.zeros(1, 2, 4, 16).double())
            got.append(out[:, :-2])
    want = F.scaled_dot_product_attention(
        query, key, value, is_causal=True, scale=0.3, enable_gqa=True
    )
    torch.testing.assert_close(torch.cat(got, 1), want.transpose(1, 2), rtol=1e-12, atol=1e-13)


def test_a_page_is_read_once_for_all_its_tokens() -> None:
    pool = make_pool(4)
    pages = [pool.prompt.take() for _ in range(3)]
    plan = Plan(pool, reply_group=1)
    for token in range(GROUP):
        plan.add([*((WHOLE, page) for page in pages), (OWN, token)])
    calls = plan.reads().calls
    assert [(call.start, call.stop, len(call.tokens)) for call in calls] == [
        (0, 3, 3 * GROUP),  # three pages, each with all tokens, in one call
        (0, GROUP, GROUP),  # their own pages, also in one call
    ]


def test_parts_of_a_prompt_page_match_own_pages() -> None:
    """A prompt that is a prefix of another must be cut at the same positions."""
    pool = make_pool(4)
    long, short = take_row(pool, 130, 130), take_row(pool, 70, 70)
    assert [kind for kind, _ in long.visible_pages(69)] == [PARTS, PARTS + 1, PARTS + 2]
    assert [kind for kind, _ in short.visible_pages(69)] == [OWN, OWN, OWN]
    assert [kind for kind, _ in long.visible_pages(129)] == [WHOLE, OWN]


def test_parts_of_weight_zero_change_no_bit() -> None:
    torch.manual_seed(0)
    out, total = torch.randn(6, 2, 8), torch.randn(6, 2)
    total[0] = -torch.inf
    few = merge(out, total, torch.tensor([[1, 2], [3, 4]]))
    more = merge(out, total, torch.tensor([[1, 2], [3, 4], [0, 5], [0, 0]]))
    assert torch.equal(few[0], more[0]) and not torch.equal(few[1], more[1])
    weights = total[[1, 3]].softmax(0)[..., None]
    torch.testing.assert_close(few[0], (out[[1, 3]] * weights).sum(0))


def test_pages_are_zero_until_written_and_counted_by_their_users() -> None:
    pool = make_pool(2)
    a, b = pool.reply.take(), pool.reply.take()
    assert (a, b) == (0, 1)
    assert not pool.reply.keys[0][: b + 1].any() and not pool.reply.values[0][: b + 1].any()
    pool.reply.share([a])
    pool.reply.drop([a, b])
    assert pool.reply.num_used == 1 and pool.reply.take() == b
    pool.reply.drop([a])
    assert pool.reply.take() == a and pool.reply.num_touched == 2
    assert pool.shape.token_bytes == 2 * 2 * 16 * 8
    assert PROMPT_PAGE % REPLY_PAGE == 0
