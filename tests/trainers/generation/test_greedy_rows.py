"""Replies to validation rows equal those of transformers' `generate`, one row at a time."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from datasets_src.chat.tokenise import open_tokenizer, plain_tokens, read_format
from tests.benchmarks.step.rows import BIOSENDA, sql_texts
from trainers.generation.greedy import greedy_replies
from trainers.generation.replies import StopRule, cut_reply, end_of_turn_ids
from trainers.models.load import load_base, load_tokenizer

STOP, MAX_NEW_TOKENS, NUM_ROWS = (";",), 64, 21
# Per largest logit: between two tokens this close in float32, rounding decides.
TIE = 1e-5


@pytest.mark.parametrize(
    ("config_name", "split"), [("quickstart", "validation"), ("biosenda_text2sql", "test")]
)
@torch.inference_mode()
def test_replies_equal_generate(config_name: str, split: str, pocket: Path) -> None:
    if config_name != "quickstart" and not BIOSENDA.is_dir():
        pytest.skip(f"{BIOSENDA} is not there: the real rows of BioSenda are not ours to ship")
    texts = sql_texts(config_name, split)
    fmt = read_format(pocket, "plain")
    made = plain_tokens(fmt, open_tokenizer(fmt), texts[:: len(texts) // NUM_ROWS])
    prompts = [row.input_ids[: row.prompt_len] for row in made]
    model: Any = load_base(pocket, torch.float32)
    tokenizer = load_tokenizer(pocket)
    rule = StopRule(tokenizer, ends=end_of_turn_ids(model, tokenizer), stop=STOP)
    replies = greedy_replies(
        model, tokenizer, prompts, max_new_tokens=MAX_NEW_TOKENS, stop=STOP, batch_size=8
    )
    num_equal = 0
    for prompt, reply in zip(prompts, replies, strict=True):
        alone = cut_reply(generated(model, prompt), rule)
        num_equal += reply == alone
        if reply != alone:
            pairs = zip(reply.ids, alone.ids, strict=False)
            at = next(i for i, (ours, theirs) in enumerate(pairs) if ours != theirs)
            common, two = reply.ids[:at], [reply.ids[at], alone.ids[at]]
            logits_V = model(input_ids=torch.tensor([[*prompt, *common]])).logits[0, -1]
            best = float(logits_V.abs().max())
            assert float(logits_V[two].diff().abs()) < TIE * best, f"token {at} is no tie"
    assert len(replies) >= NUM_ROWS and num_equal > 0.9 * len(replies)


def generated(model: Any, prompt: Sequence[int]) -> list[int]:
    """New tokens by transformers' `generate`, without a batch, up to the end of the turn."""
    ids = torch.tensor([list(prompt)])
    out = model.generate(
        input_ids=ids,
        attention_mask=torch.ones_like(ids),
        max_new_tokens=MAX_NEW_TOKENS,
        do_sample=False,
        pad_token_id=0,
    )
    new: list[int] = out[0, len(prompt) :].tolist()
    return new
