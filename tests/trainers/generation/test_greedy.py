"""Greedy replies: each stops on its own and does not depend on the batch."""

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer
from tokenizers.decoders import ByteLevel, Fuse
from tokenizers.models import BPE
from transformers import PreTrainedTokenizerFast

from tests.trainers.step.plain_step import VOCAB, build_model
from trainers.generation.greedy import greedy_replies, longest_in_pages
from trainers.generation.replies import Reply, StopRule, cut_reply

ENDS = [2]


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerFast:
    """One token a character, decoded without spaces."""
    characters = ["?", ";", "</s>", *"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ012345"]
    assert len(characters) == VOCAB
    model = BPE({c: i for i, c in enumerate(characters)}, [], unk_token="?")
    inner = Tokenizer(model)
    inner.decoder = Fuse()
    return PreTrainedTokenizerFast(tokenizer_object=inner, eos_token="</s>")


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("stop", [(), tuple("aeiouAEIOU")])
@pytest.mark.parametrize("name", ["llama", "mistral-window", "falcon-7b"])
def test_a_reply_does_not_depend_on_the_batch(
    tokenizer: PreTrainedTokenizerFast, dtype: torch.dtype, stop: tuple[str, ...], name: str
) -> None:
    """For a family with paged decoding, one without, and rows within and beyond a window."""
    sizes: dict[str, Any] = {"sliding_window": 32} if name == "mistral-window" else {}
    model: Any = build_model(name, dtype=dtype, wide_norms=False, **sizes)
    with torch.no_grad():  # logits far enough apart that not every step is a tie
        model.get_output_embeddings().weight *= 20
    generator = torch.Generator().manual_seed(1)
    prompts = [
        torch.randint(3, VOCAB, (int(n),), generator=generator).tolist()
        for n in torch.randint(1, 30, (12,), generator=generator)
    ]
    prompts.append(prompts[3])
    num_done: list[int] = []

    def answers(prompts: list[list[int]], batch_size: int) -> list[Reply]:
        return greedy_replies(
            model,
            tokenizer,
            prompts,
            max_new_tokens=16,
            stop=stop,
            batch_size=batch_size,
            on_batch=num_done.append,
        )

    together = answers(prompts, 12)
    assert sum(num_done) == len(prompts)
    assert together == answers(prompts, 5) == [answers([p], 1)[0] for p in prompts]
    lengths = {len(reply.ids) for reply in together}
    assert len(lengths) > 1 or not stop, "no reply stopped before the others"
    for reply in together:
        assert reply.stopped or len(reply.ids) == 16


def test_models_without_paged_decoding_use_transformers() -> None:
    assert longest_in_pages(build_model("llama")) == torch.inf
    assert longest_in_pages(build_model("mistral-window")) == 7
    assert longest_in_pages(build_model("falcon-7b")) == 0
    assert longest_in_pages(build_model("qwen2")) == torch.inf
    assert longest_in_pages(build_model("qwen2-window")) == 7


def test_a_reply_is_cut_at_its_own_end(tokenizer: PreTrainedTokenizerFast) -> None:
    no_stop, semicolon = rule(tokenizer), rule(tokenizer, ";")
    reply = cut_reply([5, 6, 2, 7], no_stop)
    assert (reply.text, reply.ids, reply.stopped) == ("cd", (5, 6, 2), True)
    reply = cut_reply([5, 1, 6], semicolon)
    assert (reply.text, reply.stopped) == ("c", True)
    reply = cut_reply([5, 6], semicolon)
    assert (reply.text, reply.stopped) == ("cd", False)
    assert cut_reply([2], no_stop).text == ""


def test_tokens_after_a_stop_string_are_padding(tokenizer: PreTrainedTokenizerFast) -> None:
    reply = cut_reply([5, 6, 1, 2, 2], rule(tokenizer, "d;"))
    assert (reply.text, reply.ids, reply.stopped) == ("c", (5, 6, 1), True)


@given(ids=st.lists(st.integers(0, 8), min_size=1, max_size=12))
def test_a_stop_string_ends_a_reply_with_its_last_token(ids: list[int]) -> None:
    """Also over several tokens, and characters of several tokens; as decoding the whole text."""
    for stops in ((";",), ("ab",), ("b;", "aa"), ("ñ",), (" a", "\n\n")):
        stop_rule = rule(BYTES, *stops)
        seen = [n for n in range(1, len(ids) + 1) if stop_rule.ends_with_last(ids[:n])]
        reply = cut_reply(ids, stop_rule)
        assert reply.stopped == bool(seen)
        if seen:
            assert reply.ids == tuple(ids[: seen[0]])
            assert not any(stop in reply.text for stop in stops)


def rule(tokenizer: PreTrainedTokenizerFast, *stop: str) -> StopRule:
    return StopRule(tokenizer, ends=ENDS, stop=stop)


def byte_tokenizer() -> PreTrainedTokenizerFast:
    """Tokens of bytes: ñ takes two, and one token holds its last byte and a semicolon."""
    pieces = ["?", ";", "</s>", "a", "b", "Ã", "±", "Ġ", "Ċ"]
    inner = Tokenizer(BPE({piece: i for i, piece in enumerate(pieces)}, [], unk_token="?"))
    inner.decoder = ByteLevel()
    return PreTrainedTokenizerFast(tokenizer_object=inner, eos_token="</s>")


BYTES = byte_tokenizer()
