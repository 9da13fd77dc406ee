"""The whole config of a run: one pydantic model, names of TRL / transformers.

run_name: demo
train: {learning_rate: 1e-3, num_train_epochs: 4}
"""

from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from datasets_src.config import DataConfig, ModelConfig, Section
from trainers.config.eval_section import EvalConfig
from trainers.config.step_rules import parse_rules

LORA_TARGETS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")


class AdapterMethod(Section):
    """What every method that trains an adapter on a frozen base is told."""

    method_type: str = Field("lora", description="lora, dora, qlora or full")
    lora_r: int = Field(16, ge=1, description="rank")
    lora_alpha: int = Field(32, ge=1, description="scale; the delta is multiplied by alpha / r")
    lora_dropout: float = Field(0.0, ge=0, lt=1, description="dropout before the adapter")
    lora_target_modules: tuple[str, ...] = Field(
        LORA_TARGETS, min_length=1, description="names of the linear layers that get an adapter"
    )
    use_rslora: bool = Field(False, description="scale by alpha / sqrt(r)")


class LoraMethod(AdapterMethod):
    """Low-rank adapters by PEFT (arXiv 2106.09685)."""

    method_type: Literal["lora"] = Field("lora", description="lora, dora, qlora or full")


class DoraMethod(AdapterMethod):
    """LoRA for the direction and a trained length for each row of a weight (arXiv 2402.09353)."""

    method_type: Literal["dora"] = Field("dora", description="lora, dora, qlora or full")


class QloraMethod(AdapterMethod):
    """LoRA on a base held in 4-bit NormalFloat by bitsandbytes (arXiv 2305.14314)."""

    method_type: Literal["qlora"] = Field("qlora", description="lora, dora, qlora or full")
    bnb_4bit_use_double_quant: bool = Field(
        True, description="under qlora: quantise the blocks' scales too; 0.37 bit a weight less"
    )


class FullMethod(Section):
    """Every weight of the base is trained."""

    method_type: Literal["full"] = Field("full", description="lora, dora, qlora or full")


Method = LoraMethod | DoraMethod | QloraMethod | FullMethod


class TrainConfig(Section):
    """The optimizer and its schedule."""

    num_train_epochs: int = Field(3, ge=1, description="passes over the training rows")
    max_steps: int = Field(-1, ge=-1, description="stop after so many steps; -1 = by epochs")
    train_batch_size: int = Field(8, ge=1, description="examples per step, over all workers")
    max_tokens_per_micro_batch: int = Field(
        4096, ge=8, description="packed tokens in memory at a time; never changes a result"
    )
    min_share: int = Field(
        8, ge=1, description="shared tokens from which on a prefix is computed once; no change"
    )
    sampling: Literal["shuffled", "grouped"] = Field(
        "shuffled", description="grouped keeps rows with a common prefix in one step: faster"
    )
    sampling_group_size: int = Field(8, ge=2, description="rows kept together under `grouped`")
    learning_rate: float = Field(1e-4, gt=0, le=1, description="peak learning rate of AdamW")
    lr_scheduler_type: Literal[
        "cosine", "linear", "constant", "warmup_stable_decay", "piecewise_constant"
    ] = Field("cosine", description="decay after the warm-up")
    warmup_steps: float = Field(0.0, ge=0, description="steps of warm-up; below 1, a share of all")
    decay_steps: float = Field(
        0.2, gt=0, description="last steps of warmup_stable_decay; below 1, a share of all"
    )
    step_rules: str | None = Field(
        None,
        description="of piecewise_constant: '1:50,0.5:80,0.1' is the rate up to step 50, half of "
        "it up to 80, a tenth from there on",
    )
    weight_decay: float = Field(0.0, ge=0, description="decoupled weight decay of AdamW")
    adam_beta1: float = Field(0.9, ge=0, lt=1, description="decay of the first moment")
    adam_beta2: float = Field(0.999, ge=0, lt=1, description="decay of the second moment")
    adam_epsilon: float = Field(1e-8, gt=0, description="added to the root of the second moment")
    max_grad_norm: float = Field(1.0, gt=0, description="gradients are clipped to this 2-norm")
    seed: int = Field(42, ge=0, description="of adapter, order, dropout, examples and sampling")

    @model_validator(mode="after")
    def _rules_of_the_steps(self) -> "TrainConfig":
        kind, rules = self.lr_scheduler_type, self.step_rules
        if (kind == "piecewise_constant") != (rules is not None):
            raise ValueError(
                f"step_rules: {rules!r} under lr_scheduler_type {kind}; piecewise_constant and "
                "step_rules='1:50,0.1' go together"
            )
        if rules is not None:
            try:
                _, factors = parse_rules(rules)
            except ValueError:
                raise ValueError(
                    f"step_rules: {rules!r} are no rules; write '1:50,0.5:80,0.1', steps upwards "
                    "and factors above 0"
                ) from None
            if self.learning_rate * max(factors) > 1:
                raise ValueError(
                    f"step_rules: {max(factors):g} times learning_rate {self.learning_rate:g} is "
                    "above 1; lower one of the two"
                )
        return self


class CheckpointConfig(Section):
    """When a checkpoint is written and how many stay."""

    save_strategy: Literal["epoch", "steps"] = Field("epoch", description="save at epoch ends")
    save_steps: int = Field(100, ge=1, description="steps between saves under `steps`")
    save_total_limit: int = Field(3, ge=2, description="newest kept; the best stays besides")


class ScalingConfig(Section):
    """The Ray Train workers."""

    num_workers: int | dict[Literal["min", "max"], int] = Field(
        2, description="data-parallel worker processes; {min: 1, max: 4} follows the cluster"
    )
    cpus_per_worker: int | None = Field(
        None, ge=1, description="cores of each; default: the cluster's shared out evenly"
    )
    use_gpu: bool = Field(False, description="one GPU for each worker")
    zero_stage: Literal[0, 2, 3] = Field(
        0, description="DeepSpeed ZeRO: 2 shares out optimizer and gradients, 3 the weights too"
    )
    offload_optimizer: bool = Field(
        True, description="under ZeRO, a GPU worker keeps masters and moments in CPU memory"
    )
    max_failures: int = Field(
        3, ge=0, description="restarts of the workers without a new checkpoint before giving up"
    )
    hang_factor: float = Field(
        30.0, gt=1, description="workers silent for so many times the usual are restarted"
    )
    hang_min_s: float = Field(600.0, gt=0, description="but only after so many seconds")
    resource_wait_s: float = Field(
        60, ge=0, description="how long to wait for the cluster to have the resources"
    )

    @property
    def min_workers(self) -> int:
        """Fewest workers to train with."""
        return self.num_workers if isinstance(self.num_workers, int) else self.num_workers["min"]

    @property
    def max_workers(self) -> int:
        """Most workers to train with."""
        return self.num_workers if isinstance(self.num_workers, int) else self.num_workers["max"]

    @field_validator("num_workers", mode="before")
    @classmethod
    def _a_number_or_a_range(cls, raw: Any) -> Any:
        ends = (raw.get("min"), raw.get("max")) if isinstance(raw, dict) else (raw, raw)
        named = not isinstance(raw, dict) or raw.keys() == {"min", "max"}
        match ends:
            case int(low), int(high) if named and 1 <= low <= high:
                return raw
        raise ValueError(f"{raw!r} is no number of workers; write 2, or {{min: 1, max: 4}}")

    @model_validator(mode="after")
    def _a_range_of_equal_workers(self) -> "ScalingConfig":
        if isinstance(self.num_workers, dict) and self.cpus_per_worker is None:
            raise ValueError(
                "num_workers: a range needs the size of a worker; set cpus_per_worker=8"
            )
        return self


class HubConfig(Section):
    """Pushing to the Hugging Face Hub."""

    push: Literal["none", "best", "every_save"] = Field("none", description="what is pushed")
    hub_model_id: str | None = Field(
        None, pattern=r"^[\w.-]+/[\w.-]+$", description="owner/name of the adapter repository"
    )
    hub_private_repo: bool = Field(True, description="create repositories as private")
    hub_token_path: str | None = Field(None, description="file with a token; else HF_TOKEN")
    license: str = Field("other", description="licence named on the model cards")

    @model_validator(mode="after")
    def _id_where_pushed(self) -> "HubConfig":
        if self.push != "none" and self.hub_model_id is None:
            raise ValueError("push is on but hub_model_id is not set; set hub_model_id=owner/name")
        return self


class ExportConfig(Section):
    """From the best checkpoint to a merged and a quantised model."""

    export_best: bool = Field(True, description="merge, convert and verify after training")
    gguf_types: tuple[Literal["f16", "q8_0"], ...] = Field(
        ("f16", "q8_0"), description="GGUF files to write"
    )


class Config(Section):
    """One run. Its directory is `<output_dir>/<run_name>`."""

    run_name: str = Field(pattern=r"^[\w.-]+$", description="name of the run and its directory")
    output_dir: str = Field("runs", min_length=1, description="where run directories live")
    model: ModelConfig = Field(default_factory=ModelConfig)
    data: DataConfig
    method: Method = Field(default_factory=LoraMethod, discriminator="method_type")
    train: TrainConfig = Field(default_factory=TrainConfig)
    eval: EvalConfig = Field(default_factory=EvalConfig)
    checkpoint: CheckpointConfig = Field(default_factory=CheckpointConfig)
    scaling: ScalingConfig = Field(default_factory=ScalingConfig)
    hub: HubConfig = Field(default_factory=HubConfig)
    export: ExportConfig = Field(default_factory=ExportConfig)

    @model_validator(mode="after")
    def _zero_with_whole_weights(self) -> "Config":
        if self.scaling.zero_stage and self.method.method_type == "qlora":
            raise ValueError(
                f"scaling.zero_stage: {self.scaling.zero_stage}, but qlora's 4-bit weights are not "
                "shared out; set zero_stage=0, or method_type=lora"
            )
        return self

    @model_validator(mode="after")
    def _scored_beside_on_a_disk_of_all(self) -> "Config":
        if self.eval.num_eval_workers and "://" in self.output_dir:
            raise ValueError(
                f"eval.num_eval_workers: {self.eval.num_eval_workers}, but {self.output_dir} is no "
                "directory, where an actor finds checkpoints; set num_eval_workers=0"
            )
        return self

    @model_validator(mode="after")
    def _a_chat_template_that_is_used(self) -> "Config":
        if self.model.chat_template is not None and self.data.template == "plain":
            raise ValueError(
                f"model.chat_template: {self.model.chat_template}, but data.template is plain, "
                "which has none; set template=chat, or leave chat_template out"
            )
        return self

    @model_validator(mode="before")
    @classmethod
    def _lora_where_no_method_is_named(cls, raw: Any) -> Any:
        method = raw.get("method") if isinstance(raw, dict) else None
        if isinstance(method, dict) and "method_type" not in method:
            return raw | {"method": {"method_type": "lora"} | method}
        return raw
