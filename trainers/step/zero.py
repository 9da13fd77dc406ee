"""The step's engine that gives each worker a part: DeepSpeed's ZeRO (arXiv 1910.02054).

    stage 2: each worker keeps its part of the float32 masters, AdamW's moments and the gradients
    stage 3: of the model's weights too; a layer is gathered where it is used, then let go again

engine = ZeroEngine(model, config.train, stage=3, offload=True)
train_step(engine, pairs, ...)     # as many pairs on each worker (micro_batches.py)

Nothing is compiled: torch's fused AdamW takes the time of DeepSpeedCPUAdam (20 M parameters, two
cores: 0.021 s and 0.023 s), and the shared-memory kernels serve inference only.
"""

import copy
import logging
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from trainers.config.schema import TrainConfig
from trainers.kernels.head_loss import head_loss
from trainers.step.optimizer import MOMENTS
from trainers.step.packing import PackedBatch
from trainers.step.train_step import loss_part


class ZeroEngine:
    """`step.Engine` over a DeepSpeed engine; every worker must call the same methods in turn.

    The model computes in bfloat16 if any of its weights is, else in float32; what is trained has
    float32 masters. `offload` keeps masters and moments of a GPU worker in CPU memory; on a CPU
    worker they are there already.
    """

    def __init__(self, model: nn.Module, train: TrainConfig, *, stage: int, offload: bool) -> None:
        self.device = next(model.parameters()).device
        deepspeed = _start_deepspeed(self.device)
        self._world_size, self._rank = dist.get_world_size(), dist.get_rank()
        self._names = dict(model.named_parameters())
        self._trained = {name: p for name, p in self._names.items() if p.requires_grad}
        self._shell = _empty_copy(model)
        narrow = any(p.dtype == torch.bfloat16 for p in self._names.values())
        # DeepSpeed makes its masters from weights that it has rounded to bfloat16 before.
        wide = {
            name: p.detach().clone()
            for name, p in self._trained.items()
            if narrow and p.dtype == torch.float32
        }
        self._engine, *_ = deepspeed.initialize(
            model=LossModule(model),
            optimizer=_fused_adamw(self._trained.values(), train),
            config=_deepspeed_config(
                stage=stage,
                offload=offload,
                narrow=narrow,
                max_grad_norm=train.max_grad_norm,
            ),
            dist_init_required=False,
        )
        self._make_moments()
        for name, weight in wide.items():
            self._set(name, None, weight)

    def backward(self, batch: PackedBatch, *, num_targets: int) -> Tensor:
        self._engine.train()
        part: Tensor = self._engine(batch, num_targets)
        # DeepSpeed takes the mean of the workers' gradients, ours is their sum.
        self._engine.backward(part * self._world_size)
        return part.detach()

    def step(self, learning_rate: float) -> float:
        for group in self._engine.optimizer.param_groups:
            group["lr"] = learning_rate
        self._engine.step()  # takes no step if the norm is not finite
        return float(self._engine.get_global_grad_norm())

    def state(self) -> dict[str, Tensor]:
        """The optimizer's state by name, on rank 0, with `master.<parameter>` for weights that the
        model itself holds in bfloat16 only."""
        [step] = {float(self._steps[flat]["step"]) for flat in self._flats()}
        tensors: dict[str, Tensor] = {}
        for name in self._trained:
            kept = self._shell.get_parameter(name).dtype == torch.float32
            for key in MOMENTS if kept else (*MOMENTS, "master"):
                value = self._get(name, None if key == "master" else key)
                if self._rank == 0:
                    tensors[f"{key}.{name}"] = value.cpu()
            if self._rank == 0:
                tensors[f"step.{name}"] = torch.tensor(step)
        return tensors

    def load_state(self, tensors: Mapping[str, Tensor]) -> None:
        """Put a state back into an engine whose model was loaded before the engine was made."""
        for name in self._trained:
            for key in MOMENTS:
                self._set(name, key, tensors[f"{key}.{name}"])
            if f"master.{name}" in tensors:
                self._set(name, None, tensors[f"master.{name}"])
        [step] = {float(tensors[f"step.{name}"]) for name in self._trained}
        for flat in self._flats():
            self._steps[flat]["step"].fill_(step)

    @contextmanager
    def gathered_weights(self) -> Iterator[nn.Module]:
        """The model as it was given, with all its weights: for the time of an evaluation each
        worker holds them, for gathering each layer once a token would take far longer."""
        from deepspeed import zero

        shell = dict(self._shell.named_parameters())
        with torch.no_grad(), zero.GatheredParameters(list(self._names.values())):
            for name, param in self._names.items():
                same = param.dtype == shell[name].dtype
                shell[name].data = param.data if same else self._get(name, None)
            try:
                yield self._shell
            finally:
                for param in shell.values():
                    param.data = param.data.new_empty(0)

    @property
    def _steps(self) -> dict[Tensor, dict[str, Tensor]]:
        state: dict[Tensor, dict[str, Tensor]] = self._engine.basic_optimizer.state
        return state

    def _flats(self) -> list[Tensor]:
        """This worker's parts of the masters, as flat tensors: what the optimizer really steps."""
        zero = self._engine.optimizer
        flats: list[Tensor] = (
            zero.fp32_partitioned_groups_flat
            if self._partitioned
            else zero.single_partition_of_fp32_groups
        )
        return flats

    @property
    def _partitioned(self) -> bool:
        return bool(self._engine.zero_optimization_partition_weights())

    def _make_moments(self) -> None:
        """Zero moments, which DeepSpeed would make in the first step only: a loaded state needs
        a place before it."""
        from deepspeed.utils import lazy_init_hp_params_optimizer_state

        for index, flat in enumerate(self._flats()):
            self._steps[flat] = {"step": torch.zeros(())} | {
                key: torch.zeros_like(flat) for key in MOMENTS
            }
            if not self._partitioned:
                params = self._engine.optimizer.bit16_groups[index]
                lazy_init_hp_params_optimizer_state(params, flat, self._steps)

    def _get(self, name: str, key: str | None) -> Tensor:
        """The whole float32 master of a parameter, or a moment of it."""
        from deepspeed import utils

        param = self._trained[name]
        value: Tensor = (
            utils.safe_get_full_fp32_param(param)
            if key is None
            else utils.safe_get_full_optimizer_state(param, key)
        )
        return value.detach().clone()

    def _set(self, name: str, key: str | None, value: Tensor) -> None:
        from deepspeed import utils

        param: Any = self._trained[name]
        value = value.to(self.device)
        if not self._partitioned:
            if key is None:
                utils.safe_set_full_fp32_param(param, value)
            else:
                utils.safe_set_full_optimizer_state(param, value, key)
            return
        # The setters of the whole tensor fail where its size is no multiple of the workers'.
        size = param.ds_tensor.numel()
        padded = nn.functional.pad(value.flatten(), (0, size * self._world_size - value.numel()))
        part = padded[size * self._rank :][:size]
        if key is None:
            utils.safe_set_local_fp32_param(param, part)
        else:
            utils.safe_set_local_optimizer_state(param, part, key)


class LossModule(nn.Module):
    """The model with the step's loss on top, all within module calls, where stage 3 gathers."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model, self.head = model, LossHead(model.get_output_embeddings().weight)

    def forward(self, batch: PackedBatch, num_targets: int) -> Tensor:
        return loss_part(self.model, batch, num_targets=num_targets, head=self.head)


class LossHead(nn.Module):
    """The head's loss as the call of a module that owns the weight, as stage 3 asks for: the
    weight, tied or not, is then whole in the call and its gradient is reduced after it."""

    def __init__(self, weight: nn.Parameter) -> None:
        super().__init__()
        self.weight = weight

    def forward(self, hidden: Tensor, targets: Tensor, weights: Tensor) -> Tensor:
        return head_loss(hidden, self.weight, targets, weights)


def _fused_adamw(params: Iterable[nn.Parameter], train: TrainConfig) -> torch.optim.AdamW:
    return torch.optim.AdamW(
        params,
        lr=train.learning_rate,
        betas=(train.adam_beta1, train.adam_beta2),
        eps=train.adam_epsilon,
        weight_decay=train.weight_decay,
        fused=True,
    )


def _deepspeed_config(
    *, stage: int, offload: bool, narrow: bool, max_grad_norm: float
) -> dict[str, Any]:
    return {
        "train_micro_batch_size_per_gpu": 1,
        # Gradients add up until we call step(), however many micro-batches a step has.
        "managed_gradient_accumulation": False,
        "gradient_clipping": max_grad_norm,
        # Else a bfloat16 gradient that is not finite is stepped with in stage 2.
        "bf16": {"enabled": narrow, "check_grad_overflow": True},
        "data_types": {"grad_accum_dtype": "fp32"},
        "communication_data_type": "fp32",
        "zero_force_ds_cpu_optimizer": False,
        "steps_per_print": 2**31,
        "zero_optimization": {
            "stage": stage,
            "offload_optimizer": {"device": "cpu" if offload else "none"},
        },
    }


def _start_deepspeed(device: torch.device) -> Any:
    """Import DeepSpeed for `device`, in the process group there is or in one of this process."""
    if not dist.is_initialized():
        backend = "gloo" if device.type == "cpu" else "nccl"
        dist.init_process_group(backend, store=dist.HashStore(), rank=0, world_size=1)
    os.environ.setdefault("LOCAL_RANK", "0")
    logging.getLogger("DeepSpeed").setLevel(logging.WARNING)
    from deepspeed.accelerator import set_accelerator
    from deepspeed.accelerator.cpu_accelerator import CPU_Accelerator

    class PlainCPU(CPU_Accelerator):
        """Gloo and torch's own kernels: no operator is there to be compiled at the start."""

        def create_op_builder(self, op_name: str) -> None:
            return None

    if device.type == "cpu":  # on a machine with GPUs DeepSpeed would take those
        set_accelerator(PlainCPU())
    import deepspeed

    return deepspeed


def _empty_copy(model: nn.Module) -> nn.Module:
    """The modules of `model` with parameters of its types without elements."""
    empty = {
        id(p): nn.Parameter(p.detach().new_empty(0), requires_grad=False)
        for p in model.parameters()
    }
    return copy.deepcopy(model, memo=empty)
