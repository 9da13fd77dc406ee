"""Sampled replies depend only on seed and row; contrastive search follows the papers' formula."""

from collections import Counter
from collections.abc import Iterator

import pytest
import torch
from tokenizers import Tokenizer
from tokenizers.decoders import Fuse
from tokenizers.models import BPE
from transformers import PreTrainedTokenizerFast
from transformers.modeling_utils import PreTrainedModel

from datasets_src.chat.families import PRESETS, Preset
from tests.trainers.export.tiny_export import alone
from tests.trainers.step.plain_step import VOCAB, build_model
from trainers.generation.contrastive import contrastive_ids
from trainers.generation.greedy import greedy_replies
from trainers.generation.replies import Reply
from trainers.generation.sampling import preset_replies, sampled_ids, shape_logits

SAMPLING = Preset.model_validate({"title": "", "strategy": "sampling", "temperature": 0.8})
PROMPTS = [[5, 9, 14, 3], [7, 8], [31, 4, 4, 9, 20, 11, 6], [12]]
IDS = ["a", "b", "c", "d"]


@pytest.fixture(autouse=True)
def _alone() -> Iterator[None]:
    with alone():
        yield


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerFast:
    """One token per character, decoded without spaces; </s> is the third."""
    characters = ["?", ";", "</s>", *map(chr, range(ord("A"), ord("A") + VOCAB - 3))]
    inner = Tokenizer(BPE({c: i for i, c in enumerate(characters)}, [], unk_token="?"))
    inner.decoder = Fuse()
    return PreTrainedTokenizerFast(tokenizer_object=inner, eos_token="</s>")


@pytest.fixture(params=[torch.float32, torch.bfloat16], ids=["float32", "bfloat16"])
def model(request: pytest.FixtureRequest) -> PreTrainedModel:
    found = build_model(wide_norms=False)
    found.to(request.param)
    with torch.no_grad():  # so that a distribution is neither flat nor a single token
        found.lm_head.weight *= 8
    return found.eval()


def replies(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerFast,
    preset: Preset,
    rows: list[int],
    *,
    seed: int = 1,
    stop: tuple[str, ...] = (),
    batch_size: int = 8,
) -> list[Reply]:
    return preset_replies(
        model,
        tokenizer,
        [PROMPTS[i] for i in rows],
        row_ids=[IDS[i] for i in rows],
        preset=preset,
        seed=seed,
        max_new_tokens=12,
        stop=stop,
        batch_size=batch_size,
    )


@pytest.mark.parametrize("name", ["doi", "qwen", "contrastive", "questions"])
def test_a_reply_does_not_depend_on_the_other_prompts(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerFast,
    name: str,
) -> None:
    preset = PRESETS[name]
    together = replies(model, tokenizer, preset, [0, 1, 2, 3])
    assert replies(model, tokenizer, preset, [2, 0], batch_size=1) == [together[2], together[0]]
    # Nor on the global random generator.
    torch.manual_seed(99)
    assert replies(model, tokenizer, preset, [3, 1]) == [together[3], together[1]]


def test_seed_and_row_determine_the_draws(
    tokenizer: PreTrainedTokenizerFast,
) -> None:
    model = build_model(wide_norms=False)
    one, two = (replies(model, tokenizer, SAMPLING, [0, 1], seed=seed) for seed in (1, 2))
    assert one[0].ids != two[0].ids and one[1].ids != two[1].ids
    same = [PROMPTS[0]] * 2
    a, b = preset_replies(
        model, tokenizer, same, row_ids=["a", "b"], preset=SAMPLING, seed=1, max_new_tokens=12
    )
    assert a == one[0] and a.ids != b.ids, "equal prompts of two rows are sampled independently"


def test_draws_follow_the_distribution_of_the_preset() -> None:
    """2,000 first tokens against softmax(logits / T) of the k likeliest: within four sigma."""
    model, num = build_model(wide_norms=False), 2000
    with torch.no_grad():
        model.lm_head.weight *= 8
        logits = model(input_ids=torch.tensor([PROMPTS[0]])).logits[0, -1]
    top = (logits / 0.7).topk(5)
    expected = dict(zip(top.indices.tolist(), top.values.softmax(-1).tolist(), strict=True))
    preset = Preset.model_validate(
        {"title": "", "strategy": "sampling", "temperature": 0.7, "top_k": 5}
    )
    shape = shape_logits(preset)
    drawn = Counter(
        sampled_ids(model, PROMPTS[0], shape=shape, is_done=lambda ids: True, seed=seed)[0]
        for seed in range(num)
    )
    assert drawn.keys() <= expected.keys()
    for token, p in expected.items():
        assert abs(drawn[token] - num * p) <= 4 * (num * p * (1 - p)) ** 0.5 + 1, (token, p)
    assert max(expected.values()) < 0.95, "the distribution must not be a single token"


def test_a_repetition_penalty_reads_the_prompt_too() -> None:
    preset = Preset.model_validate(
        {"title": "", "strategy": "sampling", "repetition_penalty": 2.0, "top_p": 0.5}
    )
    logits = torch.tensor([4.0, 3.0, -1.0, 0.0])
    shaped = shape_logits(preset)([0, 2], logits)
    # Positive logits are divided, negative ones multiplied; 3.0 alone has half of the probability.
    assert shaped.tolist() == [float("-inf"), 3.0, float("-inf"), float("-inf")]


def test_sampling_stops_at_the_end_of_a_turn_or_a_stop_string(
    tokenizer: PreTrainedTokenizerFast,
) -> None:
    model = build_model(wide_norms=False)
    free = replies(model, tokenizer, SAMPLING, [0, 1, 2, 3])
    letter = next(c for c in free[0].text[2:] if c.isalpha())
    cut = replies(model, tokenizer, SAMPLING, [0, 1, 2, 3], stop=(letter,))
    assert cut[0].stopped and letter not in cut[0].text
    assert cut[0].ids == free[0].ids[: len(cut[0].ids)] and len(cut[0].ids) < len(free[0].ids)
    with torch.no_grad():
        model.lm_head.weight[2] = 50 * model.lm_head.weight[2].sign()
    num_done: list[int] = []
    ended = preset_replies(
        model,
        tokenizer,
        PROMPTS,
        row_ids=IDS,
        preset=SAMPLING,
        seed=1,
        max_new_tokens=12,
        on_batch=num_done.append,
    )
    assert any(reply.stopped and reply.ids[-1] == 2 for reply in ended)
    assert num_done == [1, 1, 1, 1]


def test_a_greedy_preset_equals_greedy_replies(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerFast,
) -> None:
    ours = replies(model, tokenizer, PRESETS["biosenda"], [0, 1, 2, 3])
    assert ours == greedy_replies(model, tokenizer, PROMPTS, max_new_tokens=12)


@pytest.mark.parametrize(("alpha", "top_k"), [(0.6, 4), (0.3, 5), (0.9, 2)])
def test_contrastive_search_follows_the_papers_formula(alpha: float, top_k: int) -> None:
    """Compared with the same search without a KV cache, each candidate after the full sequence."""
    model = build_model(wide_norms=False)
    with torch.no_grad():
        model.lm_head.weight *= 8
    model.eval()

    @torch.no_grad()
    def read(ids: list[int]) -> tuple[torch.Tensor, torch.Tensor]:
        out = model(input_ids=torch.tensor([ids]), output_hidden_states=True)
        return out.hidden_states[-1][0], out.logits[0, -1]

    ids = list(PROMPTS[2])
    greedy = []
    for _ in range(10):
        hidden, logits = read(ids)
        probabilities, candidates = logits.softmax(-1).topk(top_k)
        scores = []
        for p, v in zip(probabilities.tolist(), candidates.tolist(), strict=True):
            state = read([*ids, v])[0][-1]
            likeness = torch.cosine_similarity(state[None], hidden, dim=-1).max().item()
            scores.append((1 - alpha) * p - alpha * likeness)
        greedy.append(int(candidates[0]))
        ids.append(int(candidates[torch.tensor(scores).argmax()]))
    found = contrastive_ids(
        model,
        PROMPTS[2],
        alpha=alpha,
        top_k=top_k,
        shape=lambda _, logits: logits,
        is_done=lambda new: len(new) == 10,
    )
    assert found == ids[len(PROMPTS[2]) :]
    assert found != greedy, "the penalty never decided"
    assert len(set(found)) > 3 and max(found) < VOCAB
