"""The whole config of a run: one pydantic model, keys named as in TRL and transformers.

run_name: demo
train: {learning_rate: 1e-3, num_train_epochs: 4}
"""

from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from datasets_src.config import DataConfig, ModelConfig, Section
from trainers.config.eval_section import EvalConfig
from trainers.config.scaling_section import ScalingConfig
from trainers.config.step_rules import parse_rules

ALL_LINEAR = "all-linear"
METHOD = "what is trained, and how"


class AdapterMethod(Section):
    """Options of every method that trains an adapter on a frozen base."""

    method_type: str = Field("lora", description=METHOD)
    lora_r: int = Field(16, ge=1, description="rank of the adapter")
    lora_alpha: int = Field(
        32, ge=1, description="adapter scaling; the update is multiplied by lora_alpha / lora_r"
    )
    lora_dropout: float = Field(0.0, ge=0, lt=1, description="dropout on the adapter's input")
    lora_target_modules: str | tuple[str, ...] = Field(
        ALL_LINEAR,
        min_length=1,
        description="linear layers that get an adapter: a list of names, or all-linear, which "
        "leaves out the output head",
    )
    use_rslora: bool = Field(
        False, description="rank-stabilised LoRA: scale by lora_alpha / sqrt(lora_r)"
    )

    @field_validator("lora_target_modules")
    @classmethod
    def _all_linear_or_a_list(cls, value: str | tuple[str, ...]) -> str | tuple[str, ...]:
        if isinstance(value, str) and value != ALL_LINEAR:
            raise ValueError(f"{value!r} is not a list; set lora_target_modules=[{value}]")
        return value


class LoraMethod(AdapterMethod):
    """Low-rank adapters by PEFT (arXiv 2106.09685)."""

    method_type: Literal["lora"] = Field("lora", description=METHOD)


class DoraMethod(AdapterMethod):
    """LoRA on the direction plus a trained magnitude per weight row (arXiv 2402.09353)."""

    method_type: Literal["dora"] = Field("dora", description=METHOD)


class QloraMethod(AdapterMethod):
    """LoRA on a base held in 4-bit NormalFloat by bitsandbytes (arXiv 2305.14314)."""

    method_type: Literal["qlora"] = Field("qlora", description=METHOD)
    bnb_4bit_use_double_quant: bool = Field(
        True, description="qlora: also quantise the block scales; saves 0.37 bit per weight"
    )


class FullMethod(Section):
    """Every weight of the base is trained."""

    method_type: Literal["full"] = Field("full", description=METHOD)


Method = LoraMethod | DoraMethod | QloraMethod | FullMethod


class TrainConfig(Section):
    """The optimizer and its schedule."""

    num_train_epochs: int = Field(3, ge=1, description="passes over the training rows")
    max_steps: int = Field(
        -1,
        ge=-1,
        description="if positive, total number of optimizer steps; overrides num_train_epochs",
    )
    train_batch_size: int = Field(
        8, ge=1, description="examples per optimizer step, over all workers"
    )
    max_tokens_per_micro_batch: int = Field(
        4096,
        ge=8,
        description="tokens of a packed micro-batch, bounds memory (never changes a result)",
    )
    min_share: int = Field(
        8,
        ge=1,
        description="minimum length, in tokens, of a shared prefix that is computed once (speed "
        "only; results do not change)",
    )
    sampling: Literal["shuffled", "grouped"] = Field(
        "shuffled",
        description="order of the rows; grouped puts rows with a common prefix into one step "
        "(faster, less diverse batches)",
    )
    sampling_group_size: int = Field(8, ge=2, description="rows kept together by sampling=grouped")
    learning_rate: float = Field(1e-4, gt=0, le=1, description="peak learning rate of AdamW")
    lr_scheduler_type: Literal[
        "cosine", "linear", "constant", "warmup_stable_decay", "piecewise_constant"
    ] = Field("cosine", description="learning rate schedule")
    warmup_steps: float = Field(
        0.0, ge=0, description="steps of linear warmup; below 1, a ratio of all steps"
    )
    decay_steps: float = Field(
        0.2,
        gt=0,
        description="decay steps of warmup_stable_decay; below 1, a ratio of all steps",
    )
    step_rules: str | None = Field(
        None,
        description="for piecewise_constant: '1:50,0.5:80,0.1' is the full rate up to step 50, "
        "half of it up to step 80, then a tenth",
    )
    weight_decay: float = Field(0.0, ge=0, description="decoupled weight decay of AdamW")
    adam_beta1: float = Field(0.9, ge=0, lt=1, description="AdamW beta1")
    adam_beta2: float = Field(0.999, ge=0, lt=1, description="AdamW beta2")
    adam_epsilon: float = Field(1e-8, gt=0, description="AdamW epsilon")
    max_grad_norm: float = Field(1.0, gt=0, description="maximum gradient norm (for clipping)")
    seed: int = Field(
        42,
        ge=0,
        description="random seed (adapter init, shuffling, dropout, few-shot choice, sampling)",
    )

    @model_validator(mode="after")
    def _valid_step_rules(self) -> "TrainConfig":
        kind, rules = self.lr_scheduler_type, self.step_rules
        if (kind == "piecewise_constant") != (rules is not None):
            raise ValueError(
                f"step_rules: {rules!r} with lr_scheduler_type {kind}; set both "
                "lr_scheduler_type=piecewise_constant and step_rules='1:50,0.1', or neither"
            )
        if rules is not None:
            try:
                _, factors = parse_rules(rules)
            except ValueError:
                raise ValueError(
                    f"step_rules: {rules!r} is not valid; write '1:50,0.5:80,0.1' with ascending "
                    "steps and positive factors"
                ) from None
            if self.learning_rate * max(factors) > 1:
                raise ValueError(
                    f"step_rules: {max(factors):g} times learning_rate {self.learning_rate:g} is "
                    "above 1; lower one of the two"
                )
        return self


class CheckpointConfig(Section):
    """When a checkpoint is saved and how many are kept."""

    save_strategy: Literal["epoch", "steps"] = Field(
        "epoch", description="save at each epoch end, or every save_steps"
    )
    save_steps: int = Field(100, ge=1, description="steps between saves with save_strategy=steps")
    save_total_limit: int = Field(
        3, ge=2, description="number of newest checkpoints to keep, in addition to the best"
    )


class HubConfig(Section):
    """Pushing to the Hugging Face Hub."""

    push: Literal["none", "best", "every_save"] = Field(
        "none", description="push nothing, the best, or every save"
    )
    hub_model_id: str | None = Field(
        None, pattern=r"^[\w.-]+/[\w.-]+$", description="owner/name of the adapter repository"
    )
    hub_private_repo: bool = Field(True, description="create private repositories")
    hub_token_path: str | None = Field(
        None, description="file that holds the token; default: HF_TOKEN"
    )
    license: str = Field("other", description="licence on the model cards")

    @model_validator(mode="after")
    def _push_needs_id(self) -> "HubConfig":
        if self.push != "none" and self.hub_model_id is None:
            raise ValueError("push is on but hub_model_id is not set; set hub_model_id=owner/name")
        return self


class ExportConfig(Section):
    """From the best checkpoint to a merged and a quantised model."""

    export_best: bool = Field(True, description="merge, convert and verify the best checkpoint")
    gguf_types: tuple[Literal["f16", "q8_0"], ...] = Field(
        ("f16", "q8_0"), description="GGUF files to write"
    )
    gates: Literal["strict", "warn"] = Field(
        "strict", description="reject an exported file whose gate fails, or keep it with a warning"
    )


class Config(Section):
    """One run. Its directory is `<output_dir>/<run_name>`."""

    run_name: str = Field(pattern=r"^[\w.-]+$", description="name of the run and of its directory")
    output_dir: str = Field(
        "runs",
        min_length=1,
        description="parent of the run directories: a directory, s3://… or abfs://…",
    )
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
    def _no_zero_with_qlora(self) -> "Config":
        if self.scaling.zero_stage and self.method.method_type == "qlora":
            raise ValueError(
                f"scaling.zero_stage: {self.scaling.zero_stage}, but 4-bit weights cannot be "
                "sharded; set zero_stage=0, or method_type=lora"
            )
        return self

    @model_validator(mode="after")
    def _scoring_actors_need_a_directory(self) -> "Config":
        if self.eval.num_eval_workers and "://" in self.output_dir:
            raise ValueError(
                f"eval.num_eval_workers: {self.eval.num_eval_workers}, but scoring actors read "
                f"checkpoints from a directory, and {self.output_dir} is an object store; set "
                "num_eval_workers=0"
            )
        return self

    @model_validator(mode="after")
    def _chat_template_needs_chat(self) -> "Config":
        if self.model.chat_template is not None and self.data.template == "plain":
            raise ValueError(
                f"model.chat_template: {self.model.chat_template}, but data.template=plain "
                "uses none; set template=chat, or remove chat_template"
            )
        if self.model.enable_thinking and self.data.template == "plain":
            raise ValueError(
                "model.enable_thinking: true, but data.template=plain uses no chat template; set "
                "template=chat, or enable_thinking=false"
            )
        return self

    @model_validator(mode="before")
    @classmethod
    def _default_method_is_lora(cls, raw: Any) -> Any:
        method = raw.get("method") if isinstance(raw, dict) else None
        if isinstance(method, dict) and "method_type" not in method:
            return raw | {"method": {"method_type": "lora"} | method}
        return raw
