"""`trl.SFTTrainer` and our step train one model on the same rows and have the same loss curve.

TRL pads its rows; our step packs them into prefix tries. Both start from the same adapter and use
the same rows in the same order, AdamW, clipping, weight decay and schedule.
"""

import random
from pathlib import Path
from typing import Any

import pytest
import torch
from datasets import Dataset
from peft import PeftModel
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from torch import Tensor
from transformers import (
    AutoModelForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
)
from trl import SFTConfig, SFTTrainer

from datasets_src.types import TokenizedExample
from trainers.config.schema import LoraMethod, TrainConfig
from trainers.methods.lora import add_adapter
from trainers.models.load import load_base
from trainers.step.optimizer import make_optimizer
from trainers.step.packing import num_target_tokens, pack
from trainers.step.schedule import learning_rate
from trainers.step.train_step import DataParallelEngine, train_step

VOCAB, PAD = 101, 0
NUM_STEPS, ROWS_PER_STEP = 20, 6
TRAIN = TrainConfig(
    learning_rate=2e-2,
    lr_scheduler_type="cosine",
    weight_decay=0.1,
    max_grad_norm=0.3,
    max_steps=NUM_STEPS,
    train_batch_size=ROWS_PER_STEP,
)
PADDED: dict[str, Any] = {"per_device_train_batch_size": ROWS_PER_STEP}
# Settings that users of TRL change for speed; none may change the loss.
SETTINGS: dict[str, dict[str, Any]] = {
    "default": PADDED,  # with gradient checkpointing
    "no checkpointing": {**PADDED, "gradient_checkpointing": False},
    "padding-free": {**PADDED, "gradient_checkpointing": False, "padding_free": True},
    "row by row": {
        "per_device_train_batch_size": 1,
        "gradient_accumulation_steps": ROWS_PER_STEP,
        "gradient_checkpointing": False,
    },
}


@pytest.fixture(scope="module")
def base_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_base(tmp_path_factory.mktemp("base"), seed=0)


def make_base(folder: Path, *, seed: int) -> Path:
    """A tiny Llama with weights that are exact in bfloat16, so that both dtypes start alike."""
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=VOCAB,
        hidden_size=64,
        intermediate_size=96,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=128,
        initializer_range=0.2,
    )
    LlamaForCausalLM(config).bfloat16().save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def ours(base_dir: Path) -> Tensor:
    return our_losses(base_dir, TRAIN, torch.float32)


@pytest.mark.parametrize("setting", SETTINGS)
def test_fp32_losses_equal_trl(base_dir: Path, ours: Tensor, setting: str) -> None:
    theirs = trl_losses(base_dir, TRAIN, torch.float32, **SETTINGS[setting])
    assert ours[0] - ours[-1] > 0.3  # there is a curve to compare
    assert len(theirs) == NUM_STEPS
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-5)


def test_fp32_losses_equal_trl_with_a_warm_up(base_dir: Path) -> None:
    train = TRAIN.model_copy(update={"warmup_steps": 5, "lr_scheduler_type": "linear"})
    losses = our_losses(base_dir, train, torch.float32)
    theirs = trl_losses(base_dir, train, torch.float32)
    torch.testing.assert_close(losses, theirs, rtol=0, atol=1e-5)


def test_bf16_losses_differ_from_trl_by_less_than_its_rounding(tmp_path: Path) -> None:
    """The bound is the effect of bfloat16 rounding on TRL's own curves, over several models.

    Rounding is amplified from step to step, so a single curve says little; two curves that round
    independently are 2**0.5 times as far apart as each is from the exact one.
    """
    bases = []
    for seed in range(8):
        (tmp_path / str(seed)).mkdir()
        bases.append(make_base(tmp_path / str(seed), seed=seed))
    losses, exact, theirs, theirs_exact = (
        torch.cat([run(base, TRAIN, dtype) for base in bases])
        for run in (our_losses, trl_losses)
        for dtype in (torch.bfloat16, torch.float32)
    )
    noise = distance(theirs, theirs_exact)
    assert 1e-3 < noise < 0.1, noise  # TRL does compute in bfloat16, and still trains
    assert distance(losses, theirs) < 2**0.5 * noise
    assert distance(losses, exact) < 1.2 * noise


def distance(a: Tensor, b: Tensor) -> float:
    """Root mean square difference over the steps."""
    return float((a - b).square().mean().sqrt())


def make_rows() -> list[TokenizedExample]:
    """Rows of 6 to 50 tokens; in each step two prompts of 24 tokens are shared by two rows."""
    draw = random.Random(0)
    rows: list[TokenizedExample] = []
    for step in range(NUM_STEPS):
        shared = [draw.choices(range(1, VOCAB), k=24) for _ in range(2)]
        for i in range(ROWS_PER_STEP):
            prompt = shared[i % 3] if i % 3 < 2 else []
            prompt = [*prompt, *draw.choices(range(1, VOCAB), k=draw.randint(2, 10))]
            # A learnable target: each token determines the next.
            start = draw.randrange(1, VOCAB)
            target = [1 + (start + 3 * k) % (VOCAB - 1) for k in range(draw.randint(4, 16))]
            rows.append(TokenizedExample(f"{step}-{i}", "", (*prompt, *target), len(prompt)))
    return rows


def lora(base: Any) -> PeftModel:
    return add_adapter(base, LoraMethod(lora_r=4, lora_alpha=8), seed=3)


def our_losses(base_dir: Path, train: TrainConfig, dtype: torch.dtype) -> Tensor:
    model = lora(load_base(base_dir, dtype))
    optimizer, rows, losses = make_optimizer(model, train), make_rows(), []
    model.train()
    for step in range(1, NUM_STEPS + 1):
        batch = rows[(step - 1) * ROWS_PER_STEP : step * ROWS_PER_STEP]
        half = ROWS_PER_STEP // 2
        loss, _ = train_step(
            DataParallelEngine(model, optimizer, max_grad_norm=train.max_grad_norm),
            [(0, pack(batch[:half], min_share=8)), (1, pack(batch[half:], min_share=8))],
            num_targets=sum(num_target_tokens(len(r.input_ids), r.prompt_len) for r in batch),
            learning_rate=rate(train, step),
            seed=(0, step),
        )
        losses.append(loss)
    return torch.tensor(losses, dtype=torch.float64)


def rate(train: TrainConfig, step: int) -> float:
    return learning_rate(
        step,
        peak=train.learning_rate,
        total_steps=NUM_STEPS,
        warmup_steps=train.warmup_steps,
        kind=train.lr_scheduler_type,
    )


def trl_losses(base_dir: Path, train: TrainConfig, dtype: torch.dtype, **options: Any) -> Tensor:
    """Losses of SFTTrainer with its own optimizer and schedule; bfloat16 is mixed precision."""
    model = lora(AutoModelForCausalLM.from_pretrained(base_dir, dtype=dtype))
    settings = {**PADDED, "max_length": None, **options}
    args = SFTConfig(
        output_dir=str(base_dir / "trl"),
        use_cpu=True,
        bf16=dtype == torch.bfloat16,
        train_sampling_strategy="sequential",
        max_steps=NUM_STEPS,
        learning_rate=train.learning_rate,
        lr_scheduler_type=train.lr_scheduler_type,
        warmup_steps=train.warmup_steps,
        weight_decay=train.weight_decay,
        max_grad_norm=train.max_grad_norm,
        logging_steps=1,
        report_to="none",
        save_strategy="no",
        disable_tqdm=True,
        **settings,
    )
    trainer = SFTTrainer(
        model=model,
        args=args,
        train_dataset=Dataset.from_list([labelled(row) for row in make_rows()]),
        processing_class=tokenizer(),
    )
    trainer.train()
    losses = [line["loss"] for line in trainer.state.log_history if "loss" in line]
    return torch.tensor(losses, dtype=torch.float64)


def labelled(row: TokenizedExample) -> dict[str, list[int]]:
    ids = list(row.input_ids)
    return {"input_ids": ids, "labels": [-100] * row.prompt_len + ids[row.prompt_len :]}


def tokenizer() -> PreTrainedTokenizerFast:
    """Tokenises nothing; TRL requires one for the pad token."""
    words = {"<pad>": PAD, **{f"w{i}": i for i in range(1, VOCAB)}}
    return PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer(WordLevel(words, unk_token="w1")),
        pad_token="<pad>",
        eos_token="w2",
    )
