"""The `model` and `data` sections of a config, and the base class of all sections.

data: {task: text2sql, train_file: rows.jsonl, columns: {question: Prompt, sql: SQL}}
"""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from datasets_src.chat.families import FAMILIES, checked_name


class Section(BaseModel):
    """Base of a config section: frozen, rejects unknown keys; leaf names are unique overall."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True)


class ModelConfig(Section):
    """The base model to fine-tune."""

    model_name_or_path: str = Field(
        "pocket", min_length=1, description="Hub id, local directory, or `pocket` (built locally)"
    )
    model_revision: str | None = Field(None, description="Hub branch, tag or commit of the base")
    dtype: Literal["auto", "bfloat16", "float32"] = Field(
        "auto", description="compute dtype; auto = bfloat16 if the hardware supports it"
    )
    chat_template: str | None = Field(
        None, description=f"one of {', '.join(FAMILIES)}; default: the tokenizer's own"
    )
    enable_thinking: bool = Field(
        False, description="let replies start with a thinking block, if the chat template has one"
    )

    @field_validator("chat_template")
    @classmethod
    def _of_a_known_family(cls, name: str | None) -> str | None:
        return None if name is None else checked_name(name, FAMILIES)


class DataConfig(Section):
    """Files of rows, and how they are split and tokenised."""

    task: str = Field("text2sql", description="module of datasets_src/tasks, or a dotted path")
    train_file: str = Field(min_length=1, description="jsonl, json, csv, parquet or xlsx")
    validation_file: str | None = Field(
        None, description="like train_file; default: split train_file"
    )
    columns: dict[str, str] = Field(
        default_factory=dict, description="task field -> column of the file, where the names differ"
    )
    validation_size: float = Field(
        0.1, gt=0, lt=1, description="share of groups held out if the rows have no split column"
    )
    split_seed: int = Field(42, ge=0, description="seed of that split")
    template: Literal["chat", "plain"] = Field(
        "chat", description="the model's chat template, or the task's plain-text prompt"
    )
    max_length: int = Field(2048, ge=8, description="max tokens per row; longer rows are dropped")
    max_bad_rows: float = Field(
        0.05, ge=0, lt=1, description="max share of bad rows to leave out; 0 = fail on the first"
    )
    task_options: dict[str, Any] = Field(
        default_factory=dict, description="options of the task, e.g. database, dialect"
    )
