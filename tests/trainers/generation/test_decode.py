"""Decoding over shared pages: a sequence's logits are bit-identical in any batch."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import PreTrainedModel

from tests.trainers.export.tiny_export import build_base
from tests.trainers.generation.decode_rows import answer, mixed_prompts, peaked, tokens
from trainers.config.schema import DoraMethod, LoraMethod, QloraMethod
from trainers.generation.forward import activations_on_one_thread, pass_sizes
from trainers.kernels.paged_kv import PROMPT_PAGE, REPLY_PAGE
from trainers.methods import qlora
from trainers.methods.lora import add_adapter
from trainers.models.load import LanguageModel

FAMILIES = ["llama", "llama-tied", "mistral", "qwen2", "qwen3"]


def assert_same_as_alone(
    model: LanguageModel, prompts: Sequence[Sequence[int]], *, batch_size: int = 32
) -> None:
    replies, logits = answer(model, prompts, batch_size=batch_size)
    assert sorted(replies) == [*range(len(prompts))]
    for index, prompt in enumerate(prompts):
        alone, alone_logits = answer(model, [prompt], batch_size=1)
        assert replies[index] == alone[0], f"prompt {index} of {len(prompt)} tokens"
        for (_, number), row in alone_logits.items():
            assert torch.equal(logits[index, number], row), f"token {number} of prompt {index}"


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("name", FAMILIES)
def test_logits_are_bit_identical_in_any_batch(name: str, dtype: torch.dtype) -> None:
    assert_same_as_alone(peaked(name, dtype), mixed_prompts())


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_logits_are_bit_identical_for_any_batch_size(dtype: torch.dtype) -> None:
    model, prompts = peaked(dtype=dtype), mixed_prompts()
    many, few, one = (answer(model, prompts, batch_size=n) for n in (1000, 5, 1))
    assert many[0] == few[0] == one[0]
    for token, row in many[1].items():
        assert torch.equal(row, few[1][token]) and torch.equal(row, one[1][token])


@pytest.mark.parametrize("method", [LoraMethod(), DoraMethod()])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_logits_are_bit_identical_with_an_adapter(
    method: LoraMethod | DoraMethod, dtype: torch.dtype
) -> None:
    base = peaked(dtype=dtype)
    with torch.inference_mode():
        plain, _ = answer(base, mixed_prompts())
    model = add_adapter(base, method, seed=0).eval()
    draw = torch.Generator().manual_seed(0)
    for weight_name, weight in model.named_parameters():
        if "lora_B" in weight_name:
            weight.data.normal_(0, 0.3, generator=draw)
    assert answer(model, mixed_prompts())[0] != plain, "the adapter changes no reply"
    assert_same_as_alone(model, mixed_prompts()[::2])


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_logits_are_bit_identical_over_a_4_bit_base(dtype: torch.dtype, tmp_path: Path) -> None:
    base = build_base(tmp_path / "base")
    model = qlora.build(base, QloraMethod(), dtype=dtype, seed=0, device="cpu")
    assert_same_as_alone(model.eval(), mixed_prompts()[::2])


@pytest.mark.parametrize("name", FAMILIES)
def test_replies_equal_generate_one_prompt_at_a_time(name: str) -> None:
    model, prompts = peaked(name), mixed_prompts()
    unstopped, _ = answer(model, prompts[:1], max_new_tokens=12, end=-1)
    end = unstopped[0][-1]  # so that some replies end with it and others do not
    replies, _ = answer(model, prompts, max_new_tokens=24, end=end)
    for index, prompt in enumerate(prompts):
        assert replies[index] == generated(model, prompt, max_new_tokens=24, end=end)
    assert len({*map(len, replies.values())}) > 1, "no reply stopped before another"


def generated(
    model: PreTrainedModel, prompt: Sequence[int], *, max_new_tokens: int, end: int
) -> list[int]:
    """New tokens by transformers' `generate`, without a batch."""
    out: Any = model.generate(  # type: ignore[operator]
        torch.tensor([prompt]),
        attention_mask=torch.ones(1, len(prompt), dtype=torch.long),
        max_new_tokens=max_new_tokens,
        do_sample=False,
        eos_token_id=end,
        pad_token_id=0,
    )
    new: list[int] = out[0, len(prompt) :].tolist()
    return new


TEXT = tokens(2 * PROMPT_PAGE + 9, 3)
BORDERS = [0, 1, REPLY_PAGE, PROMPT_PAGE - 1, PROMPT_PAGE, PROMPT_PAGE + 1, 2 * PROMPT_PAGE]
PROMPTS = st.lists(
    st.builds(
        lambda cut, more: (*TEXT[:cut], *more),
        st.one_of(st.sampled_from(BORDERS), st.integers(0, len(TEXT))),
        st.lists(st.integers(3, 5), min_size=1, max_size=4),
    ),
    min_size=2,
    max_size=7,
    unique=True,
)


@settings(max_examples=12, deadline=None)
@given(
    prompts=PROMPTS, batch_size=st.integers(1, 8), dtype=st.sampled_from(["bfloat16", "float32"])
)
def test_any_prompts_give_the_replies_they_get_alone(
    prompts: list[tuple[int, ...]], batch_size: int, dtype: str
) -> None:
    model = peaked("qwen3", getattr(torch, dtype))
    assert_same_as_alone(model, prompts, batch_size=batch_size)


def test_thread_shares_change_no_bit() -> None:
    """Three threads split the activations of a pass, 32 * 2056 numbers, unevenly."""
    num_threads = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        model = peaked(intermediate_size=2056)
        assert_same_as_alone(model, [tokens(9, i) for i in range(24)])
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(num_threads)


@pytest.mark.parametrize("is_tuned", [False, True])
def test_an_activation_runs_on_one_thread_during_decoding(is_tuned: bool) -> None:
    """With and without an adapter, on numbers where scalar and vector SiLU differ."""
    model: Any = peaked()
    if is_tuned:
        model = add_adapter(model, LoraMethod(), seed=0)
    activations = [m for name, m in model.named_modules() if name.endswith("act_fn")]
    assert len(activations) == model.config.num_hidden_layers
    numbers = torch.linspace(-8, 8, 2**14)
    single = torch.cat([torch.nn.functional.silu(part.clone()) for part in numbers.split(1)])
    differing = numbers[torch.nn.functional.silu(numbers) != single]
    if not len(differing):
        pytest.skip("scalar and vector SiLU are equal on this CPU")
    inputs = [differing[torch.arange(32 * 2056) % len(differing)].view(32, 2056)]
    inputs *= 2 if is_tuned else 1
    num_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    alone = activations[0](*inputs)
    torch.set_num_threads(3)
    try:
        assert not torch.equal(activations[0](*inputs), alone)
        with activations_on_one_thread(model):
            assert all(torch.equal(act(*inputs), alone) for act in activations)
            assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(num_threads)


def test_bfloat16_activations_do_not_depend_on_the_index() -> None:
    """Every bfloat16 number, in a vector and alone, so the number of threads is irrelevant."""
    bits = torch.arange(-(2**15), 2**15).to(torch.int16).view(torch.bfloat16)
    numbers = bits[torch.isfinite(bits.float())]
    together = torch.nn.functional.silu(numbers)
    alone = torch.cat([torch.nn.functional.silu(part.clone()) for part in numbers.split(1)])
    assert torch.equal(together, alone)


SHAPES = [(2048, 2048), (2048, 5440), (5440, 2048), (2048, 16), (16, 2048), (128, 344), (32, 61)]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(("inputs", "outputs"), SHAPES)
def test_a_row_of_a_product_does_not_depend_on_the_others(
    inputs: int, outputs: int, dtype: torch.dtype
) -> None:
    """The premise of all of it, on 2B and small shapes: rows are permuted and mixed."""
    draw = torch.Generator().manual_seed(0)
    weight = torch.randn(outputs, inputs, generator=draw).to(dtype)
    for size in (pass_sizes(dtype).reply, pass_sizes(dtype).prompt):
        rows = torch.randn(size, inputs, generator=draw).to(dtype)
        want = torch.nn.functional.linear(rows, weight)
        for number in range(3):
            order = torch.randperm(size, generator=draw)
            others = torch.randn(size, inputs, generator=draw).to(dtype) * 10**number
            others[size // 2 :] = 0
            kept = torch.rand(size, generator=draw) < 0.5
            mixed = torch.where(kept[:, None], rows[order], others)
            got = torch.nn.functional.linear(mixed[None], weight)[0]
            assert torch.equal(got[kept], want[order[kept]])
