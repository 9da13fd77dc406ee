"""Contrastive search (Su et al. 2022, arXiv 2202.06417, 2210.14140), one row at a time.

    next = argmax over the k likeliest v of (1 - alpha) p(v | x) - alpha max_j cos(h_v, h_j)

h is the last hidden state and j runs over all previous tokens, so tokens similar to them are
penalised. The search is deterministic. transformers 5 no longer includes it:
`generate(penalty_alpha=…)` requires trust_remote_code and fetches
transformers-community/contrastive-search from the Hub, which no offline node can. This is the same
search from the papers' formula, and needs neither.
"""

from collections.abc import Callable, Sequence

import torch
from torch.nn.functional import normalize
from transformers import DynamicCache

from trainers.models.load import LanguageModel


@torch.inference_mode()
def contrastive_ids(
    model: LanguageModel,
    prompt: Sequence[int],
    *,
    alpha: float,
    top_k: int,
    shape: Callable[[Sequence[int], torch.Tensor], torch.Tensor],
    is_done: Callable[[Sequence[int]], bool],
) -> list[int]:
    """New token ids of one prompt.

    Args:
        shape: (all ids so far, logits [V]) -> the logits [V] whose softmax is p.
        is_done: whether these new ids are a finished reply.
    """
    cache = DynamicCache(config=model.config)
    hidden_BTD, logits_BTV = _forward(model, cache, [list(prompt)])
    past_TD, logits_V = normalize(hidden_BTD[0], dim=-1), logits_BTV[0, -1]
    new: list[int] = []
    while not new or not is_done(new):
        p_K, candidates_K = shape([*prompt, *new], logits_V).softmax(-1).topk(top_k)
        # Each candidate continues a copy of the cache, in its own row.
        cache.batch_repeat_interleave(top_k)
        hidden_K1D, logits_K1V = _forward(model, cache, candidates_K[:, None].tolist())
        states_KD = normalize(hidden_K1D[:, 0], dim=-1)
        similarity_K = (states_KD @ past_TD.T).amax(1).cpu()
        best = int(((1 - alpha) * p_K - alpha * similarity_K).argmax())
        cache.batch_select_indices(torch.tensor([best], device=model.device))
        past_TD = torch.cat([past_TD, states_KD[best : best + 1]])
        logits_V = logits_K1V[best, -1]
        new.append(int(candidates_K[best]))
    return new


def _forward(
    model: LanguageModel, cache: DynamicCache, rows: Sequence[Sequence[int]]
) -> tuple[torch.Tensor, torch.Tensor]:
    """Last hidden states [B, T, D] in float32, and logits [B, 1, V] after the last token."""
    out = model(
        input_ids=torch.tensor(rows, device=model.device),
        past_key_values=cache,
        use_cache=True,
        output_hidden_states=True,
        logits_to_keep=1,
    )
    return out.hidden_states[-1].float(), out.logits
