"""Strict JSON parsing and validation of queries."""

import json
from typing import Any

import pytest

from datasets_src.query_json.compare import schema_fault
from datasets_src.query_json.schema import MAX_DEPTH, MAX_REPLY, Query, read_object

QUERY: dict[str, Any] = {
    "doc_type": "projects",
    "filters": dict.fromkeys(
        ("programme", "funding_level", "year", "location", "location_level"), None
    ),
    "organisations": [
        {"type": "university", "name": None, "location": None, "location_level": "city"}
    ],
    "semantic_query": "aigua",
    "query_rewrite": "Llista de projectes",
    "meta": {"lang": "CA", "original_query": "aigua", "notes": None},
}


@pytest.mark.parametrize(
    "reply",
    ['{"a": 1}', ' \n{"a": 1}\t', '```json\n{"a": 1}\n```', '```{"a":1}```', '```\n{"a":1}'],
)
def test_an_object_is_read_alone_or_in_a_fence(reply: str) -> None:
    assert read_object(reply) == {"a": 1}


@pytest.mark.parametrize(
    "reply",
    [
        *(
            "",
            " ",
            "no ho sé",
            '{"a": 1',
            '{"a": 1}}',
            "{'a': 1}",
            '{"a": 1,}',
            "```",
            "```json```",
        ),
        *('"text"', "7", "true", "null", "[]", '[{"a": 1}]', "```json\n[]\n```"),
        *('Aquí: {"a": 1}', '{"a": 1} fet', 'Aquí:\n```json\n{"a": 1}\n```', '{"a": 1} {"b": 2}'),
        *('{"a": NaN}', '{"a": -Infinity}', '{"a": 1, "a": 1}', '{"b": {"a": 1, "a": 2}}'),
        *("[" * 100_000, '{"a":' * 100_000, '{"a": ' + "9" * 5000 + "}", "\ud800", "\x00"),
    ],
)
def test_anything_else_is_rejected(reply: str) -> None:
    assert read_object(reply) is None


def test_depth_and_length_limits_do_not_depend_on_the_stack() -> None:
    def deep(levels: int) -> str:
        return '{"a":' + "[" * (levels - 1) + "]" * (levels - 1) + "}"

    assert read_object(deep(MAX_DEPTH)) is not None
    assert read_object(deep(MAX_DEPTH + 1)) is None
    long = json.dumps({"a": "x" * MAX_REPLY})
    assert read_object(long) is None and read_object(long[10:]) is None
    assert read_object(json.dumps({"a": "x" * (MAX_REPLY - 9)})) is not None


def changed(path: str, value: Any) -> dict[str, Any]:
    query: dict[str, Any] = json.loads(json.dumps(QUERY))
    at: Any = query
    *parents, last = path.split(".")
    for name in parents:
        at = at[int(name)] if isinstance(at, list) else at[name]
    if value is ...:
        del at[last]
    else:
        at[last] = value
    return query


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("doc_type", ...),
        ("semantic_query", None),
        ("organisations", []),
        ("filters.year", ">=2020"),
        ("filters.location_level", "region"),
        ("metric", "count"),
        ("metric_params", {"k": 5, "field": "organisation"}),
        ("meta.resolvability", "Full"),
    ],
)
def test_valid_values(path: str, value: Any) -> None:
    assert schema_fault(changed(path, value)) == ""


@pytest.mark.parametrize(
    ("path", "value"),
    [
        *(("filters.year", 2023), ("filters.year", ...), ("filters", None), ("filters.other", 1)),
        *(("filters.location_level", "nuts3"), ("filters.programme", ["ERC"])),
        *(("organisations", "UB"), ("organisations", ["UB"]), ("organisations", None)),
        *(("organisations.0.type", "school"), ("organisations.0.name", ...)),
        *(("semantic_query", ""), ("semantic_query", ...), ("query_rewrite", "\ud800")),
        *(("meta.lang", "FR"), ("meta", None), ("meta.resolvability", "Partial"), ("extra", 1)),
        ("metric_params.k", "5"),
    ],
)
def test_invalid_values_are_located(path: str, value: Any) -> None:
    query = {**QUERY, "metric_params": {"k": 5}}
    query = changed(path, value) if path in ("extra",) else changed_in(query, path, value)
    place = path.removesuffix(".resolvability")
    assert schema_fault(query).startswith(place)


def changed_in(query: dict[str, Any], path: str, value: Any) -> dict[str, Any]:
    if not path.startswith("metric_params"):
        return changed(path, value)
    return {**query, "metric_params": {"k": value}}


def test_the_schema_is_available_as_json_schema() -> None:
    schema = Query.model_json_schema()
    assert set(schema["required"]) == {
        *("filters", "organisations", "semantic_query", "query_rewrite", "meta")
    }
    assert "nuts3" not in json.dumps(schema) and "province" in json.dumps(schema)
