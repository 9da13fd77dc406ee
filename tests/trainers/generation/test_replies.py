"""A reply to a prompt that opens a thinking block has the start of the block in its text."""

from tokenizers import Tokenizer
from tokenizers.decoders import Fuse
from tokenizers.models import BPE
from transformers import PreTrainedTokenizerFast

from datasets_src.chat.thinking import answer_of, count_thinking
from trainers.generation.replies import Reply, with_opened_thinking

CHARACTERS = "?<>/\n thinkaserdyTC9SELT[]_|"


def tokenizer() -> PreTrainedTokenizerFast:
    """One token per character."""
    vocabulary = {c: i for i, c in enumerate(dict.fromkeys(CHARACTERS))}
    inner = Tokenizer(BPE(vocabulary, [], unk_token="?"))
    inner.decoder = Fuse()
    return PreTrainedTokenizerFast(tokenizer_object=inner)


def test_the_start_of_a_block_in_the_prompt_is_a_part_of_the_reply() -> None:
    ids = {c: i for i, c in enumerate(dict.fromkeys(CHARACTERS))}
    prompts = [
        [ids[c] for c in text]
        for text in ("assent\n<think>\n", "assent\n<think>\n", "<think>\n\n</think>\n\n", "ask ")
    ]
    texts = ["9 is 9\n</think>\n\nSELECT 9", "9 is 9", "SELECT 9", "SELECT 9"]
    replies = [Reply(text, (1, 2), stopped=True) for text in texts]
    found = with_opened_thinking(tokenizer(), prompts, replies)
    assert [reply.text for reply in found] == [
        "<think>\n9 is 9\n</think>\n\nSELECT 9",
        "<think>\n9 is 9",
        "SELECT 9",
        "SELECT 9",
    ]
    assert found[2:] == replies[2:]
    assert [answer_of(reply.text) for reply in found] == ["SELECT 9", "", "SELECT 9", "SELECT 9"]
    assert count_thinking([reply.text for reply in found]).num_unclosed == 1
    assert all((reply.ids, reply.stopped) == ((1, 2), True) for reply in found)
