"""The `eval` section of a config: generation, baselines, and the metric for the best model.

EvalConfig(metric_for_best_model="eval_loss").chooses_greatest is False
"""

from typing import Any

from pydantic import Field, field_validator, model_validator

from datasets_src.chat.families import PRESETS, checked_name
from datasets_src.chat.few_shot import read_system_prompt
from datasets_src.config import Section
from datasets_src.task import EVAL_LOSS


class EvalConfig(Section):
    """Replies to the validation prompts are generated and scored at each save."""

    eval_batch_size: int = Field(16, ge=1, description="prompts decoded together by a worker")
    max_new_tokens: int = Field(256, ge=1, description="maximum length of a reply, in tokens")
    num_eval_workers: int = Field(
        0,
        ge=0,
        description="actors that score while training continues; 0 = the training workers score",
    )
    eval_on_start: bool = Field(
        True, description="score the baselines base, few_shot and constant before training"
    )
    num_few_shot: int = Field(
        3,
        ge=0,
        description="solved examples in the prompt of the few_shot baseline; 0 = no such baseline",
    )
    system_prompt: str | None = Field(
        None, description="system prompt of the few_shot baseline: a text, or a file that holds it"
    )
    generation_preset: str = Field(
        "greedy", description=f"generation settings: {', '.join(PRESETS)}"
    )
    metric_for_best_model: str | None = Field(
        None,
        description="metric that selects the best checkpoint: one of the task's, or eval_loss; "
        "default: the task's own",
    )
    greater_is_better: bool | None = Field(
        None,
        description="whether a greater metric is better; default: false for eval_loss, else true",
    )

    @property
    def chooses_greatest(self) -> bool:
        """Whether a greater value of the metric for the best model is better."""
        given = self.greater_is_better
        return self.metric_for_best_model != EVAL_LOSS if given is None else given

    @model_validator(mode="before")
    @classmethod
    def _length_of_the_preset(cls, raw: Any) -> Any:
        if not isinstance(raw, dict) or "max_new_tokens" in raw:
            return raw
        preset = PRESETS.get(str(raw.get("generation_preset")))
        given = {} if preset is None else {"max_new_tokens": preset.max_new_tokens}
        return raw | {key: value for key, value in given.items() if value is not None}

    @model_validator(mode="after")
    def _a_loss_is_to_be_low(self) -> "EvalConfig":
        if self.metric_for_best_model == EVAL_LOSS and self.greater_is_better:
            raise ValueError(
                f"greater_is_better: true, but {EVAL_LOSS} is better if lower; remove "
                "greater_is_better"
            )
        return self

    @field_validator("generation_preset")
    @classmethod
    def _a_known_preset(cls, name: str) -> str:
        return checked_name(name, PRESETS)

    @field_validator("system_prompt")
    @classmethod
    def _the_text_of_a_file(cls, given: str | None) -> str | None:
        return None if given is None else read_system_prompt(given)
