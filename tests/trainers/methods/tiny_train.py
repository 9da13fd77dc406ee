"""Helpers of the method tests: a config per method, rows, and steps of the real train_step."""

from pathlib import Path

import torch

from datasets_src.types import TokenizedExample
from tests.trainers.export.tiny_export import dialogues
from trainers.config.schema import (
    DoraMethod,
    FullMethod,
    LoraMethod,
    Method,
    QloraMethod,
    TrainConfig,
)
from trainers.methods.choose import method_module
from trainers.models.load import LanguageModel
from trainers.step.optimizer import make_optimizer
from trainers.step.packing import num_target_tokens, pack
from trainers.step.train_step import DataParallelEngine, loss_part, train_step

CONFIGS: dict[str, Method] = {
    "lora": LoraMethod(lora_r=4, lora_alpha=8),
    "dora": DoraMethod(lora_r=4, lora_alpha=8),
    "qlora": QloraMethod(lora_r=4, lora_alpha=8),
    "full": FullMethod(),
}
RATES = {"lora": 2e-2, "dora": 2e-2, "qlora": 2e-2, "full": 2e-3}


def build(name: str, base: Path, *, dtype: torch.dtype = torch.float32) -> LanguageModel:
    """A fresh model of the method `name`."""
    method = CONFIGS[name]
    return method_module(method).build(base, method, dtype=dtype, seed=3, device="cpu")


def optimizer_of(model: LanguageModel) -> torch.optim.Optimizer:
    return make_optimizer(model, TrainConfig(weight_decay=0.01))


def rows(base: Path) -> list[TokenizedExample]:
    return [
        TokenizedExample(str(i), str(i), tuple(ids), num_prompt)
        for i, (ids, num_prompt) in enumerate(dialogues(base))
    ]


def num_targets(examples: list[TokenizedExample]) -> int:
    return sum(num_target_tokens(len(e.input_ids), e.prompt_len) for e in examples)


def train(
    model: LanguageModel, optimizer: torch.optim.Optimizer, base: Path, steps: range, *, rate: float
) -> list[float]:
    """Train `steps`, each on six of the rows in two micro-batches, and return their losses."""
    model.train()
    losses = []
    for step in steps:
        some = (rows(base) * 2)[step % 2 * 6 :][:6]
        batches = [(0, pack(some[:2], min_share=4)), (1, pack(some[2:], min_share=4))]
        loss, _ = train_step(
            DataParallelEngine(model, optimizer, max_grad_norm=1.0),
            batches,
            num_targets=num_targets(some),
            learning_rate=rate,
            seed=(0, step),
        )
        losses.append(loss)
    return losses


@torch.no_grad()
def logits(model: LanguageModel, base: Path) -> torch.Tensor:
    """Logits [T, V] of the first row, in evaluation mode."""
    return model.eval()(input_ids=torch.tensor([rows(base)[0].input_ids])).logits[0]


def packed_gradients(
    model: LanguageModel, examples: list[TokenizedExample]
) -> dict[str, torch.Tensor]:
    """Gradients of the step's loss over one packed micro-batch."""
    model.train()
    batch = pack(examples, min_share=4)
    loss_part(model, batch, num_targets=num_targets(examples)).backward()
    return {n: p.grad for n, p in model.named_parameters() if p.grad is not None}


def plain_gradients(
    model: LanguageModel, examples: list[TokenizedExample]
) -> dict[str, torch.Tensor]:
    """The reference: one row at a time through transformers' own loss."""
    model.train()
    total = num_targets(examples)
    for e in examples:
        labels = [-100] * e.prompt_len + list(e.input_ids[e.prompt_len :])
        mean = model(input_ids=torch.tensor([e.input_ids]), labels=torch.tensor([labels])).loss
        (mean * num_targets([e]) / total).backward()
    return {n: p.grad for n, p in model.named_parameters() if p.grad is not None}
