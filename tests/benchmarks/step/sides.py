"""One optimizer step by us or by our peer, `trl.SFTTrainer`, with its cost.

side = open_side("ours", base_dir, dtype)      # or "trl_default", "trl_best"
side.step(rows) == Cost(cpu_s=4.1, wall_s=2.1, loss=1.87)

Both start from the same base on disk, in the same dtype, with LoRA r16 on the seven projections.
Timed is the way from tokenised rows in memory to updated weights. For TRL that is from the start of
the epoch to the end of its one step: data loader, collator, forward, backward, clipping, AdamW.
Building the trainer and preparing (packing) its dataset are not counted.
"""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from peft import LoraConfig, PeftModel
from transformers import AutoModelForCausalLM
from transformers import logging as transformers_logging

from datasets_src.batching.plan import cut_step
from datasets_src.types import TokenizedExample
from trainers.config.schema import LoraMethod, TrainConfig
from trainers.methods.lora import add_adapter
from trainers.models.load import LanguageModel, load_base, load_tokenizer
from trainers.step.optimizer import make_optimizer
from trainers.step.packing import num_target_tokens, pack
from trainers.step.train_step import DataParallelEngine, train_step

LEARNING_RATE = 2e-5  # TRL's default
# TRL's defaults (mixed precision, gradient checkpointing, padding) except for the number of rows
# per step and no truncation.
TRL_DEFAULT: dict[str, Any] = {"max_length": None}
# The fastest setting of TRL found: no checkpointing, rows packed best-fit into bins of the longest
# row's length, one bin at a time. Longer bins need a dense mask and are slower.
TRL_BEST: dict[str, Any] = {"packing": True, "gradient_checkpointing": False}


@dataclass(frozen=True)
class Cost:
    """CPU seconds of the whole process, wall seconds, and the loss, to check a side by."""

    cpu_s: float
    wall_s: float
    loss: float


class Side(Protocol):
    """A model with its adapter and optimizer."""

    model: Any

    def step(self, rows: list[TokenizedExample]) -> Cost:
        """Train one optimizer step on `rows`."""


def open_side(name: str, base_dir: Path, dtype: torch.dtype, device: str = "cpu") -> Side:
    """The named side, with its base loaded."""
    if name == "ours":
        return Ours(base_dir, dtype, device)
    return Peer(base_dir, dtype, device, best=name == "trl_best")


class Stopwatch:
    """CPU and wall seconds since construction."""

    def __init__(self) -> None:
        self._wait()
        self.wall, self.cpu = time.perf_counter(), time.process_time()

    def read(self, loss: float) -> Cost:
        self._wait()
        return Cost(time.process_time() - self.cpu, time.perf_counter() - self.wall, loss)

    def _wait(self) -> None:
        if torch.cuda.is_initialized():
            torch.cuda.synchronize()


class Ours:
    """The step as the training loop takes it."""

    def __init__(self, base_dir: Path, dtype: torch.dtype, device: str) -> None:
        base: Any = load_base(base_dir, dtype)
        self.model = add_adapter(base.to(device), LoraMethod(), seed=0)
        self.config = TrainConfig(learning_rate=LEARNING_RATE)
        self.optimizer = make_optimizer(self.model, self.config)

    def step(self, rows: list[TokenizedExample]) -> Cost:
        watch, config = Stopwatch(), self.config
        batches = cut_step(
            rows,
            num_workers=1,
            max_tokens=config.max_tokens_per_micro_batch,
            min_share=config.min_share,
        )
        loss, _ = train_step(
            DataParallelEngine(self.model, self.optimizer, max_grad_norm=config.max_grad_norm),
            ((i, pack(batch.rows, min_share=config.min_share)) for i, batch in enumerate(batches)),
            num_targets=sum(num_target_tokens(len(r.input_ids), r.prompt_len) for r in rows),
            learning_rate=LEARNING_RATE,
            seed=(0, 0),
        )
        return watch.read(loss)


class Peer:
    """A new SFTTrainer per step on the same model, so that a step has exactly the given rows."""

    def __init__(self, base_dir: Path, dtype: torch.dtype, device: str, *, best: bool) -> None:
        transformers_logging.set_verbosity_error()
        self.model: LanguageModel = AutoModelForCausalLM.from_pretrained(base_dir, dtype=dtype)
        self.tokenizer = load_tokenizer(base_dir)
        self.output_dir = base_dir / "trl"
        self.is_bf16, self.best, self.device = dtype == torch.bfloat16, best, device
        self.adapter: LoraConfig | None = LoraConfig(
            task_type="CAUSAL_LM", r=16, lora_alpha=32, target_modules="all-linear"
        )

    def settings(self, rows: list[TokenizedExample]) -> dict[str, Any]:
        """SFTConfig arguments that differ between the default and the best setting."""
        if not self.best:
            return {**TRL_DEFAULT, "per_device_train_batch_size": len(rows)}
        return {
            **TRL_BEST,
            "max_length": max(len(row.input_ids) for row in rows),
            "per_device_train_batch_size": 1,
            # An upper bound: the step ends after the last bin.
            "gradient_accumulation_steps": len(rows),
        }

    def step(self, rows: list[TokenizedExample]) -> Cost:
        from datasets import Dataset
        from transformers import TrainerCallback
        from trl import SFTConfig, SFTTrainer

        watches: list[Stopwatch] = []
        costs: list[Cost] = []

        class Timer(TrainerCallback):
            def on_epoch_begin(self, *args: Any, **kwargs: Any) -> None:
                watches.append(Stopwatch())

            def on_step_end(self, *args: Any, **kwargs: Any) -> None:
                costs.append(watches[-1].read(0.0))

        args = SFTConfig(
            output_dir=str(self.output_dir),
            use_cpu=self.device == "cpu",
            bf16=self.is_bf16,
            train_sampling_strategy="sequential",
            num_train_epochs=1,
            logging_steps=1,
            save_strategy="no",
            report_to="none",
            disable_tqdm=True,
            **self.settings(rows),
        )
        trainer = SFTTrainer(
            model=self.model,
            args=args,
            train_dataset=Dataset.from_list([labelled(row) for row in rows]),
            processing_class=self.tokenizer,
            peft_config=self.adapter,
            callbacks=[Timer()],
        )
        assert isinstance(trainer.model, PeftModel)
        self.model, self.adapter = trainer.model, None
        trainer.train()
        losses = [line["loss"] for line in trainer.state.log_history if "loss" in line]
        assert len(costs) == len(losses) == 1, (costs, losses)
        return Cost(costs[0].cpu_s, costs[0].wall_s, losses[0])


def labelled(row: TokenizedExample) -> dict[str, list[int]]:
    """A tokenised row in TRL's format."""
    ids = list(row.input_ids)
    return {"input_ids": ids, "labels": [-100] * row.prompt_len + ids[row.prompt_len :]}
