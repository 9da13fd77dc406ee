"""The partitioned engine: ZeRO (arXiv 1910.02054) by DeepSpeed.

    stage 2: float32 masters, AdamW's moments and gradients are partitioned over the workers
    stage 3: the model's weights too; a layer's are gathered for its use, then released

    engine = ZeroEngine(model, config.train, stage=3, offload=True)
    # the same number of pairs on each worker (micro_batches.py)
    train_step(engine, share.batches, num_targets=812, learning_rate=1e-4, seed=(42, 1))

No DeepSpeed operator is compiled: torch's fused AdamW is as fast as DeepSpeedCPUAdam (20 M
parameters, two cores: 0.021 s and 0.023 s), and the shared-memory kernels serve inference only.

Shapes: N loss positions, D width, V vocabulary.
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
    """`train_step.Engine` over a DeepSpeed engine; all methods are collective calls.

    The compute dtype is bfloat16 if any weight has it, else float32; trained weights have float32
    masters. `offload` keeps the masters and moments of a GPU worker in CPU memory, where a CPU
    worker has them anyway.
    """

    def __init__(self, model: nn.Module, train: TrainConfig, *, stage: int, offload: bool) -> None:
        self.device = next(model.parameters()).device
        deepspeed = _start_deepspeed(self.device)
        self._world_size, self._rank = dist.get_world_size(), dist.get_rank()
        self._names = dict(model.named_parameters())
        self._trained = {name: p for name, p in self._names.items() if p.requires_grad}
        # DeepSpeed changes the model's parameters in place; this copy keeps modules and dtypes.
        self._gathered_model = _empty_copy(model)
        is_bfloat16 = any(p.dtype == torch.bfloat16 for p in self._names.values())
        # DeepSpeed makes its masters from weights that it has already rounded to bfloat16.
        float32_weights = {
            name: p.detach().clone()
            for name, p in self._trained.items()
            if is_bfloat16 and p.dtype == torch.float32
        }
        self._engine, *_ = deepspeed.initialize(
            model=LossModule(model),
            optimizer=_fused_adamw(self._trained.values(), train),
            config=_deepspeed_config(
                stage=stage,
                offload=offload,
                is_bfloat16=is_bfloat16,
                max_grad_norm=train.max_grad_norm,
            ),
            dist_init_required=False,
        )
        self._init_moments()
        for name, weight in float32_weights.items():
            self._set(name, None, weight)

    def backward(self, batch: PackedBatch, *, num_targets: int) -> Tensor:
        self._engine.train()
        part: Tensor = self._engine(batch, num_targets)
        # DeepSpeed averages the gradients over the workers; the step's gradient is their sum.
        self._engine.backward(part * self._world_size)
        return part.detach()

    def step(self, learning_rate: float) -> float:
        for group in self._engine.optimizer.param_groups:
            group["lr"] = learning_rate
        self._engine.step()  # DeepSpeed skips the update if the norm is not finite
        return float(self._engine.get_global_grad_norm())

    def state(self) -> dict[str, Tensor]:
        """The full optimizer state by parameter name on rank 0, empty on others.

        `master.<parameter>` is included for weights that the model holds in bfloat16.
        """
        [step] = {float(self._steps[flat]["step"]) for flat in self._flats()}
        tensors: dict[str, Tensor] = {}
        for name in self._trained:
            # A float32 weight is its own master and is saved with the model.
            is_master = self._gathered_model.get_parameter(name).dtype == torch.float32
            for key in MOMENTS if is_master else (*MOMENTS, "master"):
                value = self._get(name, None if key == "master" else key)
                if self._rank == 0:
                    tensors[f"{key}.{name}"] = value.cpu()
            if self._rank == 0:
                tensors[f"step.{name}"] = torch.tensor(step)
        return tensors

    def load_state(self, tensors: Mapping[str, Tensor]) -> None:
        """Restore a state; the model's weights must have been loaded before the engine was made."""
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
        """The model with all its weights, on every worker until the context ends.

        Generation would otherwise gather every layer once per token, which takes far longer.
        """
        from deepspeed import zero

        gathered = dict(self._gathered_model.named_parameters())
        with torch.no_grad(), zero.GatheredParameters(list(self._names.values())):
            for name, param in self._names.items():
                same_dtype = param.dtype == gathered[name].dtype
                gathered[name].data = param.data if same_dtype else self._get(name, None)
            try:
                yield self._gathered_model
            finally:
                for param in gathered.values():
                    param.data = param.data.new_empty(0)

    @property
    def _steps(self) -> dict[Tensor, dict[str, Tensor]]:
        state: dict[Tensor, dict[str, Tensor]] = self._engine.basic_optimizer.state
        return state

    def _flats(self) -> list[Tensor]:
        """This worker's partitions of the masters, flat tensors that the optimizer updates."""
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

    def _init_moments(self) -> None:
        """Allocate zero moments; DeepSpeed does so in the first step, too late for load_state."""
        from deepspeed.utils import lazy_init_hp_params_optimizer_state

        for index, flat in enumerate(self._flats()):
            self._steps[flat] = {"step": torch.zeros(())} | {
                key: torch.zeros_like(flat) for key in MOMENTS
            }
            if not self._partitioned:
                params = self._engine.optimizer.bit16_groups[index]
                lazy_init_hp_params_optimizer_state(params, flat, self._steps)

    def _get(self, name: str, key: str | None) -> Tensor:
        """A copy of the full float32 master of a parameter (key None), or of its moment `key`."""
        from deepspeed import utils

        param = self._trained[name]
        value: Tensor = (
            utils.safe_get_full_fp32_param(param)
            if key is None
            else utils.safe_get_full_optimizer_state(param, key)
        )
        return value.detach().clone()

    def _set(self, name: str, key: str | None, value: Tensor) -> None:
        """Set the full float32 master of a parameter (key None), or its moment `key`."""
        from deepspeed import utils

        param: Any = self._trained[name]
        value = value.to(self.device)
        if not self._partitioned:
            if key is None:
                utils.safe_set_full_fp32_param(param, value)
            else:
                utils.safe_set_full_optimizer_state(param, value, key)
            return
        # The full-tensor setters fail if the size is not a multiple of the world size.
        size = param.ds_tensor.numel()
        padded = nn.functional.pad(value.flatten(), (0, size * self._world_size - value.numel()))
        part = padded[size * self._rank :][:size]
        if key is None:
            utils.safe_set_local_fp32_param(param, part)
        else:
            utils.safe_set_local_optimizer_state(param, part, key)


class LossModule(nn.Module):
    """Model and loss as one module: stage 3 gathers weights in hooks of module calls only."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model, self.head = model, LossHead(model.get_output_embeddings().weight)

    def forward(self, batch: PackedBatch, num_targets: int) -> Tensor:
        return loss_part(self.model, batch, num_targets=num_targets, head=self.head)


class LossHead(nn.Module):
    """`head_loss` as a module that owns the weight, head_VD.

    Stage 3 then gathers the weight, tied or not, for the call and reduces its gradient after it.
    """

    def __init__(self, weight: nn.Parameter) -> None:
        super().__init__()
        self.weight = weight

    def forward(self, hidden: Tensor, targets: Tensor, weights: Tensor) -> Tensor:
        """hidden_ND, targets_N, weights_N -> loss []."""
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
    *, stage: int, offload: bool, is_bfloat16: bool, max_grad_norm: float
) -> dict[str, Any]:
    return {
        "train_micro_batch_size_per_gpu": 1,
        # Gradients accumulate until step() is called: steps differ in their micro-batches.
        "managed_gradient_accumulation": False,
        "gradient_clipping": max_grad_norm,
        # Without the check, stage 2 steps with a bfloat16 gradient that is not finite.
        "bf16": {"enabled": is_bfloat16, "check_grad_overflow": True},
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
    """Import DeepSpeed for `device`, in the existing process group or a new one of size 1."""
    if not dist.is_initialized():
        backend = "gloo" if device.type == "cpu" else "nccl"
        dist.init_process_group(backend, store=dist.HashStore(), rank=0, world_size=1)
    os.environ.setdefault("LOCAL_RANK", "0")
    logging.getLogger("DeepSpeed").setLevel(logging.WARNING)
    from deepspeed.accelerator import set_accelerator
    from deepspeed.accelerator.cpu_accelerator import CPU_Accelerator

    class PlainCPU(CPU_Accelerator):
        """Gloo and torch's kernels: without operator builders DeepSpeed compiles nothing."""

        def create_op_builder(self, op_name: str) -> None:
            return None

    if device.type == "cpu":  # otherwise DeepSpeed picks a GPU where there is one
        set_accelerator(PlainCPU())
    import deepspeed

    return deepspeed


def _empty_copy(model: nn.Module) -> nn.Module:
    """A copy of the modules of `model` whose parameters keep their dtypes but have no elements."""
    empty = {
        id(p): nn.Parameter(p.detach().new_empty(0), requires_grad=False)
        for p in model.parameters()
    }
    return copy.deepcopy(model, memo=empty)
