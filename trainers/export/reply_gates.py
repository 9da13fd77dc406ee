"""Compare a GGUF's greedy replies and their log-probabilities with the merged model's.

references = answer(model, tokenizer, prompts, max_new_tokens=64, stop=(), batch_size=16)
with LlamaServer(path, context_tokens=2048) as llama:
    gates = gate_replies(llama, references, outtype="q8_0")

f16 and Q8_0 weights are rounded. Where the merged model's first two choices are close, the second
one is not a fault of the file: such a reply is counted separately, as a tie, if the first token
that differs is within TIE_MARGINS of the best. The effect of the rounding is measured too: the mean
difference of the log-probability of every chosen token.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from transformers import PreTrainedModel
from transformers.tokenization_utils_base import PreTrainedTokenizerBase

from trainers.export.gates import Gate
from trainers.export.llama_server import Completion, LlamaServer
from trainers.generation.greedy import greedy_replies

# In nats. Measured on the pocket model, 730 tokens: f16 differs by 5e-5 on average and 2e-3 at
# most, q8_0 by 1e-3 and 0.11.
TIE_MARGINS = {"f16": 0.02, "q8_0": 0.2}
LOGPROB_LIMITS = {"f16": 0.002, "q8_0": 0.02}
TOP = 16


@dataclass(frozen=True)
class Reference:
    """A prompt and the merged model's greedy reply `ids` [T].

    `top_ids` and `top_logprobs` [T, TOP]: its best choices at each position of the reply.
    """

    prompt: tuple[int, ...]
    ids: tuple[int, ...]
    top_ids: np.ndarray
    top_logprobs: np.ndarray

    def logprob(self, position: int, token: int) -> float:
        """Log-probability of `token` at `position`; -inf if it is not among the TOP best."""
        found = np.flatnonzero(self.top_ids[position] == token)
        return float(self.top_logprobs[position, found[0]]) if len(found) else -math.inf


def answer(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[Sequence[int]],
    *,
    max_new_tokens: int,
    stop: tuple[str, ...],
    batch_size: int,
) -> list[Reference]:
    """Greedy replies of `model` (float32) to `prompts`, with the TOP choices at every token."""
    replies = greedy_replies(
        model, tokenizer, prompts, max_new_tokens=max_new_tokens, stop=stop, batch_size=batch_size
    )
    references = []
    for prompt, reply in zip(prompts, replies, strict=True):
        top_ids, top_logprobs = _choices(model, prompt, reply.ids)
        references.append(Reference(tuple(prompt), reply.ids, top_ids, top_logprobs))
    return references


@torch.inference_mode()
def _choices(
    model: PreTrainedModel, prompt: Sequence[int], ids: Sequence[int]
) -> tuple[np.ndarray, np.ndarray]:
    tokens = torch.tensor([[*prompt, *ids[:-1]]])
    logits = model(input_ids=tokens, logits_to_keep=len(ids)).logits[0].float()
    top = logits.log_softmax(-1).topk(min(TOP, logits.shape[-1]))
    return top.indices.numpy(), top.values.numpy()


def gate_replies(
    llama: LlamaServer, references: Sequence[Reference], *, outtype: str
) -> list[Gate]:
    """The gates "<outtype> replies" and "<outtype> log-probabilities"."""
    margin = TIE_MARGINS[outtype]
    num_equal = num_ties = 0
    worst = ""
    errors: list[float] = []
    for index, reference in enumerate(references):
        reply = llama.complete(reference.prompt, max_new_tokens=len(reference.ids))
        errors += _errors(reference, reply)
        gap = divergence(reference, reply)
        if gap is None:
            num_equal += 1
        elif gap <= margin:
            num_ties += 1
        else:
            worst = worst or f"; reply {index} differs by a choice {gap:.3g} below the best"
    total = len(references)
    ties = f", {num_ties} ties (margin <= {margin:g})" if num_ties else ""
    num_different = total - num_equal - num_ties
    return [
        Gate(
            f"{outtype} replies",
            num_different == 0,
            num_different,
            0,
            f"{num_equal}/{total} equal to the merged model's{ties}{worst}",
        ),
        _gate_errors(errors, outtype),
    ]


def divergence(reference: Reference, reply: Completion) -> float | None:
    """How far the first token that differs is below the merged model's best, in nats.

    None if the replies are equal; infinite if llama.cpp stopped earlier.
    """
    both = zip(reference.ids, reply.ids, strict=False)
    at = next((i for i, (a, b) in enumerate(both) if a != b), None)
    if at is None:
        return None if len(reply.ids) == len(reference.ids) else math.inf
    return float(reference.top_logprobs[at, 0]) - reference.logprob(at, reply.ids[at])


def _errors(reference: Reference, reply: Completion) -> list[float]:
    """Differences of the log-probability of each token, up to the first that differs."""
    errors = []
    # Where a character takes several tokens, llama.cpp gives no log-probabilities.
    for position, (token, logprob) in enumerate(zip(reply.ids, reply.logprobs, strict=False)):
        if position >= len(reference.ids):
            break
        errors.append(abs(reference.logprob(position, token) - logprob))
        if token != reference.ids[position]:
            break
    return errors


def _gate_errors(errors: Sequence[float], outtype: str) -> Gate:
    limit = LOGPROB_LIMITS[outtype]
    # No reply with log-probabilities at all is not a pass.
    mean = float(np.mean(errors)) if errors else math.inf
    largest = max(errors, default=math.inf)
    return Gate(
        f"{outtype} log-probabilities",
        mean <= limit,
        mean,
        limit,
        f"of {len(errors)} chosen tokens differ by {mean:.1e} nats on average (limit {limit:g}), "
        f"at most {largest:.1e}",
    )
