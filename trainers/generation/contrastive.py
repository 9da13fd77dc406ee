"""Contrastive search (Su et al. 2022, arXiv 2202.06417, 2210.14140), one row at a time.

    next = argmax over the k likeliest v of (1 - alpha) p(v | x) - alpha max_j cos(h_v, h_j)

h is the last hidden state, j runs over all tokens before: what resembles them is held back. There
is no chance in it. transformers 5 has it no more: `generate(penalty_alpha=…)` there asks for
trust_remote_code and fetches transformers-community/contrastive-search from the Hub, which no
offline node can. This is the same search from the papers' formula, and needs neither.
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
    """New token ids; `shape` gives the logits [V] whose softmax is p."""
    cache = DynamicCache(config=model.config)
    hidden_BTD, logits_BTV = _forward(model, cache, [list(prompt)])
    seen_TD, logits_V = normalize(hidden_BTD[0], dim=-1), logits_BTV[0, -1]
    new: list[int] = []
    while not new or not is_done(new):
        p_K, candidates_K = shape([*prompt, *new], logits_V).softmax(-1).topk(top_k)
        # The candidates read the same past, each in a row of the cache of its own.
        cache.batch_repeat_interleave(top_k)
        hidden_K1D, logits_K1V = _forward(model, cache, candidates_K[:, None].tolist())
        states_KD = normalize(hidden_K1D[:, 0], dim=-1)
        likeness_K = (states_KD @ seen_TD.T).amax(1).cpu()
        best = int(((1 - alpha) * p_K - alpha * likeness_K).argmax())
        cache.batch_select_indices(torch.tensor([best], device=model.device))
        seen_TD = torch.cat([seen_TD, states_KD[best : best + 1]])
        logits_V = logits_K1V[best, -1]
        new.append(int(candidates_K[best]))
    return new


def _forward(
    model: LanguageModel, cache: DynamicCache, rows: Sequence[Sequence[int]]
) -> tuple[torch.Tensor, torch.Tensor]:
    """Last hidden states [B, T, D] in float32 and the logits [B, 1, V] behind the last token."""
    out = model(
        input_ids=torch.tensor(rows, device=model.device),
        past_key_values=cache,
        use_cache=True,
        output_hidden_states=True,
        logits_to_keep=1,
    )
    return out.hidden_states[-1].float(), out.logits
