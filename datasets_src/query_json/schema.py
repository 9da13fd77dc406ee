"""The JSON that a query is parsed into: its schema, and strict parsing of a reply.

{"doc_type": "projects",
 "filters": {"programme": "ERC", "funding_level": null, "year": ">=2020", "location": null,
             "location_level": null},
 "organisations": [{"type": "research_center", "name": null, "location": "Catalunya",
                    "location_level": "region"}],
 "semantic_query": "climate change", "query_rewrite": "List of ERC projects from 2020 …",
 "meta": {"lang": "EN"}}

`Query.model_json_schema()` returns it as a JSON schema.
"""

import json
import string
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

# Characters, four times as many as 1,024 new tokens give; bounds the time per reply.
MAX_REPLY = 20_000
# A query is 3 deep. Python's own limit depends on the caller's stack.
MAX_DEPTH = 32

Text = Annotated[str, Field(min_length=1)]
Level = Literal["city", "province", "region", "country", "other"]
Kind = Literal["university", "company", "research_center", "hospital", "ngo", "public_entity"]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class Filters(_Part):
    """Search filters; every key is required, null if the query does not set it."""

    programme: Text | None
    funding_level: Text | None
    year: Text | None  # "2023", ">=2020", "2018-2020"
    location: Text | None
    location_level: Level | None


class Organisation(_Part):
    """An organisation by name, or any of a type and place."""

    type: Kind | None
    name: Text | None
    location: Text | None
    location_level: Level | None


class MetricParams(_Part):
    """Parameters of a counting query: top `k`, counted field, grouping field."""

    k: int | None = None
    field: Text | None = None
    group_by: Text | None = None


class Meta(_Part):
    """About the query itself; `id` is never part of a target."""

    id: str | int | None = None
    lang: Literal["CA", "ES", "EN", "ca", "es", "en"]
    original_query: str | None = None
    notes: str | None = None
    resolvability: Text | None = None

    @model_validator(mode="after")
    def _partial_says_why(self) -> "Meta":
        if self.resolvability in ("Partial", "Adapted") and not self.notes:
            raise ValueError(f"resolvability {self.resolvability} needs notes")
        return self


class Query(_Part):
    """A parsed query: with a `metric` it quantifies, otherwise it discovers."""

    doc_type: Text | None = None
    metric: Text | None = None
    metric_params: MetricParams | None = None
    filters: Filters
    # fail_fast: thousands of invalid items would each produce an error.
    organisations: list[Organisation] = Field(fail_fast=True)
    semantic_query: Text | None
    query_rewrite: Text | None
    meta: Meta


def read_object(text: str) -> dict[str, Any] | None:
    """Parse a JSON object, alone or in one ``` fence; None if `text` is anything else.

    Surrounding prose, NaN, duplicate keys and values that Python cannot represent are rejected.
    """
    if len(text) > MAX_REPLY:
        return None
    try:
        value = json.loads(
            _unfence(text), object_pairs_hook=unique, parse_constant=_refuse_constant
        )
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) and not _is_deep(value) else None


def _unfence(text: str) -> str:
    text = text.strip()
    if not text.startswith("```"):
        return text
    return text.removeprefix("```").removesuffix("```").lstrip(string.ascii_letters)


def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object as a dict; ValueError for a duplicate key.

    Which of the two values counts depends on the parser (RFC 8259, section 4).
    """
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("duplicate key")
    return found


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is not valid JSON")


def _is_deep(value: Any) -> bool:
    level = [value]
    for _ in range(MAX_DEPTH):
        parts = [v.values() if isinstance(v, dict) else v for v in level]
        level = [inner for part in parts for inner in part if isinstance(inner, dict | list)]
    return bool(level)
