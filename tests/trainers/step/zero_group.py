"""Worker processes that take steps under ZeRO, or replicated steps to compare with.

Real processes over gloo with a file rendezvous: `python zero_group.py file://PATH RANK WORLD_SIZE`.
"""

import json
import math
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from safetensors.torch import load_file, save_file
from torch import nn
from transformers import LlamaConfig, LlamaForCausalLM

from datasets_src.types import TokenizedExample
from trainers.config.schema import Config, LoraMethod, TrainConfig
from trainers.kernels.attention import register
from trainers.methods.lora import add_adapter
from trainers.step.micro_batches import share_of_step
from trainers.step.optimizer import make_optimizer
from trainers.step.packing import num_target_tokens
from trainers.step.train_step import DataParallelEngine, Engine, NonFiniteError, train_step

VOCAB, STEPS = 61, 4
# Marks the lines of stdout that hold a result; libraries print there too.
RESULT = "result "


@dataclass(frozen=True)
class Task:
    """What a group of processes trains; stage 0 is the replicated step."""

    folder: str
    stage: int
    world_size: int
    method: str = "full"
    dtype: str = "float32"
    first_step: int = 0
    offload: bool = False
    poison: str = ""


def tiny_model(method: str, dtype: str, poison: str = "") -> nn.Module:
    """A Llama of odd sizes that two workers cannot share evenly: norms [33], adapters [3, 33]."""
    register()
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=VOCAB, hidden_size=33, intermediate_size=45, num_hidden_layers=2,
        num_attention_heads=3, num_key_value_heads=1, head_dim=8, max_position_embeddings=64,
        tie_word_embeddings=method == "tied", initializer_range=0.2,
    )  # fmt: skip
    config._attn_implementation = "tree"
    base = LlamaForCausalLM(config).to(getattr(torch, dtype)).eval()
    if poison:
        with torch.no_grad():
            base.model.norm.weight[3] = math.inf if poison == "loss" else 1e38
            if poison == "gradient":  # 1e38 / 1e-3, while the loss is finite: 1e38 times a logit
                for name, param in base.named_parameters():
                    if "norm" not in name:
                        param *= 1e-3
    if method != "lora":
        return base
    base.requires_grad_(False)
    model = add_adapter(base, LoraMethod(lora_r=3, lora_alpha=3), seed=0)
    for name, param in model.named_parameters():
        if "lora_B" in name:  # zero at initialisation, which makes half of the gradients zero
            nn.init.normal_(param, std=0.2)
    return model


def rows_of(step: int) -> list[TokenizedExample]:
    """Five rows; the third step has one row, so that one of two workers has none."""
    draw = torch.Generator().manual_seed(step)
    made = []
    for i in range(1 if step == 2 else 5):
        length = int(torch.randint(6, 16, (), generator=draw))
        ids = [7, 8, 9, 10, *torch.randint(0, VOCAB, (length,), generator=draw).tolist()]
        made.append(TokenizedExample(f"{step}.{i}", "", tuple(ids), 5))
    return made


def make_engine(task: Task, model: nn.Module) -> Engine:
    train = TrainConfig(max_grad_norm=0.5, weight_decay=0.1)
    if task.stage == 0:
        return DataParallelEngine(model, make_optimizer(model, train), max_grad_norm=0.5)
    from trainers.step.zero import ZeroEngine

    return ZeroEngine(model, train, stage=task.stage, offload=task.offload)


def take_step(task: Task, engine: Engine, step: int, rank: int) -> tuple[float, float]:
    rows = rows_of(step)
    raw = {
        "run_name": "zero",
        "data": {"train_file": "x.jsonl"},
        "train": {"max_tokens_per_micro_batch": 24, "min_share": 2},
        "scaling": {"zero_stage": task.stage},
    }
    pairs = share_of_step(
        rows, Config.model_validate(raw), rank=rank, world_size=task.world_size
    ).batches
    return train_step(
        engine,
        pairs,
        num_targets=sum(num_target_tokens(len(row.input_ids), row.prompt_len) for row in rows),
        learning_rate=1e-2 / (step + 1),
        seed=(1, step),
    )


def work(task: Task, rank: int) -> dict[str, Any]:
    """Four steps from scratch, or from a saved state the last four of eight."""
    torch.set_num_threads(1)
    folder = Path(task.folder)
    model = tiny_model(task.method, task.dtype, task.poison)
    if task.first_step:
        model.load_state_dict(load_file(folder / f"weights-{task.first_step}.safetensors"))
    engine = make_engine(task, model)
    if task.first_step:
        engine.load_state(load_file(folder / f"state-{task.first_step}.safetensors"))
    result: dict[str, Any] = {"steps": []}
    try:
        for step in range(task.first_step, task.first_step + STEPS):
            result["steps"].append(take_step(task, engine, step, rank))
    except NonFiniteError as error:
        result["error"] = str(error)
    with engine.gathered_weights() as gathered:
        weights = {name: w.detach().clone() for name, w in gathered.state_dict().items()}
        result["same"] = all(
            torch.equal(w, tiny_model(task.method, task.dtype, task.poison).state_dict()[name])
            for name, w in weights.items()
        )
    state = engine.state()
    if rank == 0:
        end = task.first_step + STEPS
        save_file(state, folder / f"state-{end}.safetensors")
        save_file(weights, folder / f"weights-{end}.safetensors")
    return result


class Group:
    """`world_size` processes over gloo that run tasks in turn, as imports take longer than any
    task."""

    def __init__(self, world_size: int, folder: Path) -> None:
        root = Path(__file__).resolve().parents[3]
        env = {"OMP_WAIT_POLICY": "PASSIVE", "PYTHONWARNINGS": "ignore", "PYTHONPATH": str(root)}
        self.log = folder / f"log-{world_size}.txt"
        rendezvous = f"file://{folder}/meet-{world_size}"
        self.children = [
            subprocess.Popen(
                [sys.executable, __file__, rendezvous, str(rank), str(world_size)],
                env=os.environ | env,
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.log.open("a"), text=True,
            )
            for rank in range(world_size)
        ]  # fmt: skip

    def run(self, task: Task) -> dict[str, Any]:
        """The result of rank 0, after checking that all ranks report the same steps."""
        for child in self.children:
            assert child.stdin is not None
            print(json.dumps(task.__dict__), file=child.stdin, flush=True)
        results = [self._result(child) for child in self.children]
        assert all(result["steps"] == results[0]["steps"] for result in results)
        return results[0]

    def _result(self, child: subprocess.Popen[str]) -> dict[str, Any]:
        assert child.stdout is not None
        for line in child.stdout:
            if line.startswith(RESULT):
                result: dict[str, Any] = json.loads(line.removeprefix(RESULT))
                return result
        raise AssertionError(self.log.read_text()[-3000:])

    def close(self) -> None:
        """End the processes; each must exit with 0."""
        for child in self.children:
            assert child.stdin is not None
            child.stdin.close()
        assert [child.wait(600) for child in self.children] == [0] * len(self.children)


def serve(rendezvous: str, rank: int, world_size: int) -> None:
    """Run tasks from standard input until it ends."""
    dist.init_process_group("gloo", init_method=rendezvous, rank=rank, world_size=world_size)
    for line in sys.stdin:
        result = work(Task(**json.loads(line)), rank)
        print(RESULT + json.dumps(result), flush=True)
    dist.destroy_process_group()


if __name__ == "__main__":
    serve(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
