"""Replies: a stop per sequence, and the batch size never changes a reply."""

import pytest
import torch
from tokenizers import Tokenizer
from tokenizers.decoders import Fuse
from tokenizers.models import BPE
from transformers import PreTrainedTokenizerFast

from tests.trainers.plain_step import VOCAB, build_model
from trainers.generate import cut_reply, greedy_replies

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
def test_the_batch_size_never_changes_a_reply(
    tokenizer: PreTrainedTokenizerFast, dtype: torch.dtype, stop: tuple[str, ...]
) -> None:
    model = build_model(wide_norms=False)
    model.to(dtype)  # type: ignore[arg-type]
    with torch.no_grad():  # logits far enough apart that not every step is a tie
        model.lm_head.weight *= 20
    generator = torch.Generator().manual_seed(1)
    prompts = [
        torch.randint(3, VOCAB, (int(n),), generator=generator).tolist()
        for n in torch.randint(1, 30, (12,), generator=generator)
    ]
    alone, together, few = (
        greedy_replies(
            model, tokenizer, prompts, max_new_tokens=16, stop=stop, batch_size=batch_size
        )
        for batch_size in (1, 12, 5)
    )
    assert alone == together == few
    lengths = {len(reply.ids) for reply in alone}
    assert len(lengths) > 1 or not stop, "no reply stopped before the others: the test sees nothing"
    for reply in alone:
        assert reply.stopped or len(reply.ids) == 16


def test_a_reply_is_cut_at_its_own_end(tokenizer: PreTrainedTokenizerFast) -> None:
    reply = cut_reply([5, 6, 2, 7], tokenizer, ends=ENDS, stop=())
    assert (reply.text, reply.ids, reply.stopped) == ("cd", (5, 6, 2), True)
    reply = cut_reply([5, 1, 6], tokenizer, ends=ENDS, stop=(";",))
    assert (reply.text, reply.stopped) == ("c", True)
    reply = cut_reply([5, 6], tokenizer, ends=ENDS, stop=(";",))
    assert (reply.text, reply.stopped) == ("cd", False)
    assert cut_reply([2], tokenizer, ends=ENDS, stop=()).text == ""


def test_what_stands_behind_a_stop_string_is_padding(tokenizer: PreTrainedTokenizerFast) -> None:
    reply = cut_reply([5, 6, 1, 2, 2], tokenizer, ends=ENDS, stop=("d;",))
    assert (reply.text, reply.ids, reply.stopped) == ("c", (5, 6, 1), True)
