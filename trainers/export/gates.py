"""What must hold before an exported file gets its name; each gate says what it counted.

Gate("token ids", passed=True, value=0.0, limit=0.0, detail="61/61 texts equal")

The merged weights are compared with base + adapter (under qlora too the original base, into which
they are merged). trainers/export/token_gates.py compares the GGUF's tokenizer with the base's,
trainers/export/reply_gates.py its replies with the merged model's.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from datasets_src.errors import UserError
from trainers.methods.contract import TrainingMethod

# Largest difference of two logits over the spread of all. Weights merged into float32 differ by
# the order of sums (1e-6 measured), into half precision by the rounding of every weight
# (bfloat16: 8 bits, 0.02 measured; float16: 11 bits).
LOGIT_LIMITS = {torch.float32: 1e-4, torch.float16: 2e-2, torch.bfloat16: 1.5e-1}
POSITIONS = 32


class GateFailed(UserError):
    """An exported file is not the model it was made from; what passed its gates is kept."""

    exit_code = 3


@dataclass(frozen=True)
class Gate:
    """One check: `value` was measured, up to `limit` is allowed, `detail` says what was counted."""

    name: str
    passed: bool
    value: float
    limit: float
    detail: str


def spread(num_all: int, num: int) -> list[int]:
    """Up to `num` indices spread evenly over `num_all`."""
    return [i * num_all // min(num, num_all) for i in range(min(num, num_all))]


@torch.inference_mode()
def last_logits(model: torch.nn.Module, prompts: Sequence[Sequence[int]]) -> list[torch.Tensor]:
    """Logits [<= POSITIONS, V] at the end of each prompt (float32, one prompt at a time)."""
    return [
        model(input_ids=torch.tensor([list(ids)]), logits_to_keep=POSITIONS).logits[0].float()
        for ids in prompts
    ]


def adapted_logits(
    model_dir: Path, checkpoint: Path, prompts: Sequence[Sequence[int]], *, method: TrainingMethod
) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
    """`last_logits` of what was tuned and of the base alone, computed in float32."""
    model = method.reload(model_dir, checkpoint)
    adapted = last_logits(model, prompts)
    with method.untuned(model):
        return adapted, last_logits(model, prompts)


def gate_merged_logits(
    merged: Sequence[torch.Tensor],
    adapted: Sequence[torch.Tensor],
    base: Sequence[torch.Tensor],
    *,
    stored: torch.dtype,
) -> Gate:
    """The merged model answers as what was tuned does: `last_logits` of each on the same prompts.

    `stored` is the dtype of the merged weights; it decides how much rounding is allowed.
    """
    limit = LOGIT_LIMITS[stored]
    scale = float(torch.cat([row.flatten() for row in adapted]).std())
    pairs = list(zip(merged, adapted, strict=True))
    value = max(float((a - b).abs().max()) for a, b in pairs) / scale
    moved = max(float((a - b).abs().max()) for a, b in zip(adapted, base, strict=True)) / scale
    same = sum(int((a.argmax(-1) == b.argmax(-1)).sum()) for a, b in pairs)
    total = sum(len(a) for a, _ in pairs)
    finite = all(bool(torch.isfinite(a).all()) for a, _ in pairs)
    return Gate(
        "merged logits",
        finite and value <= limit,
        value,
        limit,
        f"largest difference from the checkpoint {value:.1e} of the logits' spread (limit "
        f"{limit:g}; the tuning moves them by {moved:.1e}), same first choice at {same}/{total} "
        f"positions of {len(pairs)} prompts",
    )
