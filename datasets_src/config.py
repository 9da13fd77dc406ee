"""The `model` and `data` sections of a config, and the base of every section.

data: {task: text2sql, train_file: rows.jsonl, columns: {question: Prompt, sql: SQL}}
"""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from datasets_src.chat.families import FAMILIES, checked_name


class Section(BaseModel):
    """Frozen; unknown keys are errors; every leaf name is unique over all sections."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True)


class ModelConfig(Section):
    """The base model."""

    model_name_or_path: str = Field(
        "pocket", min_length=1, description="Hub id, local directory, or `pocket` (built here)"
    )
    model_revision: str | None = Field(None, description="Hub branch, tag or commit of the base")
    dtype: Literal["auto", "bfloat16", "float32"] = Field(
        "auto", description="compute dtype; auto = bfloat16 if the hardware supports it"
    )
    chat_template: str | None = Field(
        None, description=f"chat template: {', '.join(FAMILIES)}; default: the model's own"
    )

    @field_validator("chat_template")
    @classmethod
    def _of_a_known_family(cls, name: str | None) -> str | None:
        return None if name is None else checked_name(name, FAMILIES)


class DataConfig(Section):
    """From raw files to tokenised rows."""

    task: str = Field(
        "text2sql", description="a task that ships, or the dotted path of your module"
    )
    train_file: str = Field(
        min_length=1, description="training rows: jsonl, json, csv, parquet or xlsx"
    )
    validation_file: str | None = Field(
        None, description="validation rows; default: split from train_file"
    )
    columns: dict[str, str] = Field(
        default_factory=dict,
        description="field of the task -> column of the file, if the names differ",
    )
    validation_size: float = Field(
        0.1, gt=0, lt=1, description="ratio of groups held out if the rows name no split"
    )
    split_seed: int = Field(42, ge=0, description="seed of that split")
    template: Literal["chat", "plain"] = Field(
        "chat", description="the model's chat template, or the task's plain text format"
    )
    max_length: int = Field(
        2048, ge=8, description="maximum tokens of a row; longer rows are dropped"
    )
    max_bad_rows: float = Field(
        0.05,
        ge=0,
        lt=1,
        description="ratio of rows that may be bad and are dropped; 0 = any is an error",
    )
    task_options: dict[str, Any] = Field(
        default_factory=dict, description="options of the task, e.g. database, dialect"
    )
