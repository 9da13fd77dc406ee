"""Chat formats of model families and generation presets, loaded from families.yaml.

FAMILIES["llama3"].stops == ("<|eot_id|>", "<|eom_id|>", "<|end_of_text|>")
PRESETS["doi"].temperature == 0.7
"""

import difflib
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, model_validator

FILE = Path(__file__).with_name("families.yaml")


class Record(BaseModel):
    """Base of an entry of the file: frozen, rejects unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    title: str


class Family(Record):
    """Chat format of a family's instruction-tuned models; keys are documented in families.yaml."""

    source: str
    tokens: tuple[str, ...] = Field(min_length=1)
    stops: tuple[str, ...] = Field(min_length=1)
    pads: tuple[str, ...]
    system: Literal["turn", "merged"]
    chat_template: str

    @model_validator(mode="after")
    def _end_with_a_token_of_the_format(self) -> "Family":
        assert self.stops[0] in self.tokens, "the first stop must be one of `tokens`"
        assert not set(self.pads) & {*self.stops, *self.tokens}, (
            "a padding token must have no other use"
        )
        return self


class Preset(Record):
    """Generation settings. Settings that the strategy does not use must keep their default."""

    strategy: Literal["greedy", "sampling", "contrastive"]
    temperature: float = Field(1.0, gt=0)
    top_k: int = Field(0, ge=0)  # 0 = all tokens
    top_p: float = Field(1.0, gt=0, le=1)
    repetition_penalty: float = Field(1.0, ge=1)
    penalty_alpha: float = Field(0.0, ge=0, lt=1)
    max_new_tokens: int | None = Field(None, ge=1)

    @model_validator(mode="after")
    def _only_what_its_strategy_reads(self) -> "Preset":
        settings = self.settings()
        if self.strategy == "greedy":
            assert not settings, f"greedy does not use {settings}"
        elif self.strategy == "sampling":
            assert "penalty_alpha" not in settings, "sampling does not use penalty_alpha"
        else:
            assert {"penalty_alpha", "top_k"} <= settings.keys(), (
                "contrastive search needs penalty_alpha and top_k"
            )
            assert "top_p" not in settings, "contrastive search does not use top_p"
        return self

    def settings(self) -> dict[str, Any]:
        """Settings that differ from their default, except max_new_tokens."""
        named = self.model_dump(exclude={"title", "strategy", "max_new_tokens"})
        return {k: v for k, v in named.items() if v != type(self).model_fields[k].default}

    def __str__(self) -> str:
        settings = ", ".join(f"{key} {value:g}" for key, value in self.settings().items())
        return f"{self.strategy} ({settings})" if settings else self.strategy


_ENTRIES = yaml.safe_load(FILE.read_text(encoding="utf-8"))
FAMILIES = {name: Family.model_validate(entry) for name, entry in _ENTRIES["families"].items()}
PRESETS = {name: Preset.model_validate(entry) for name, entry in _ENTRIES["presets"].items()}
ALL_PADS = tuple(dict.fromkeys(pad for family in FAMILIES.values() for pad in family.pads))


def checked_name(name: str, known: Mapping[str, Record]) -> str:
    """`name`, if it is one of `known`.

    Raises:
        ValueError: unknown name; lists the nearest and all known ones.
    """
    if name in known:
        return name
    near = difflib.get_close_matches(name, known, n=1)
    hint = f"did you mean {near[0]}? " if near else ""
    raise ValueError(f"{name!r} is unknown; {hint}known: {', '.join(known)}")


def fitting_families(special_tokens: Collection[str]) -> list[str]:
    """Families whose tokens are all special tokens of the tokenizer."""
    return [name for name, family in FAMILIES.items() if {*family.tokens} <= {*special_tokens}]


def choose_pad(special_tokens: Collection[str], *, pads: Sequence[str] = ALL_PADS) -> str | None:
    """The first of the reserved tokens `pads` that the tokenizer has, or None."""
    return next((pad for pad in pads if pad in special_tokens), None)
