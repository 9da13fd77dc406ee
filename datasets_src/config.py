"""The `model` and `data` sections of a config, and the base of every section.

data: {task: text2sql, train_file: rows.jsonl, columns: {question: Prompt, sql: SQL}}
"""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from datasets_src.chat.families import FAMILIES, checked_name


class Section(BaseModel):
    """Frozen, unknown keys refused; every leaf name is unique over all sections."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True)


class ModelConfig(Section):
    """The base model that is adapted."""

    model_name_or_path: str = Field(
        "pocket", min_length=1, description="Hub id, local directory, or `pocket` (built here)"
    )
    model_revision: str | None = Field(None, description="Hub branch, tag or commit of the base")
    dtype: Literal["auto", "bfloat16", "float32"] = Field(
        "auto", description="compute type; auto = bfloat16 where the hardware has it"
    )
    chat_template: str | None = Field(
        None, description=f"one of {', '.join(FAMILIES)}; default: the model's own"
    )

    @field_validator("chat_template")
    @classmethod
    def _of_a_known_family(cls, name: str | None) -> str | None:
        return None if name is None else checked_name(name, FAMILIES)


class DataConfig(Section):
    """From raw files to tokenised rows."""

    task: str = Field("text2sql", description="module of datasets_src/tasks")
    train_file: str = Field(min_length=1, description="jsonl, json, csv, parquet or xlsx")
    validation_file: str | None = Field(None, description="as train_file; else a split is made")
    columns: dict[str, str] = Field(
        default_factory=dict, description="our field -> column of the file, where names differ"
    )
    validation_size: float = Field(
        0.1, gt=0, lt=1, description="share of groups held out where the rows give no split"
    )
    split_seed: int = Field(42, ge=0, description="seed of that split")
    template: Literal["chat", "plain"] = Field(
        "chat", description="the model's chat template, or the task's plain text"
    )
    max_length: int = Field(2048, ge=8, description="tokens of a row; longer rows are dropped")
    max_bad_rows: float = Field(
        0.05, ge=0, lt=1, description="share of the rows that may be bad and left out; 0 = none"
    )
    task_options: dict[str, Any] = Field(
        default_factory=dict, description="options of the task, e.g. database, dialect"
    )
