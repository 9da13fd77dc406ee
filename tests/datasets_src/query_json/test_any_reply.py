"""No reply raises, whatever its types; every score is in [0, 1]; long replies take linear time."""

import json
import time
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import example as case
from hypothesis import strategies as st

from datasets_src.tasks import query_json
from datasets_src.types import Example

TARGET: dict[str, Any] = {
    "doc_type": "projects",
    "filters": {
        "programme": "Talaia",
        "funding_level": None,
        "year": ">=2020",
        "location": None,
        "location_level": None,
    },
    "organisations": [
        {"type": "university", "name": "Universitat Nova", "location": None, "location_level": None}
    ],
    "semantic_query": "aigua",
    "query_rewrite": "Llista de projectes Talaia de la Universitat Nova des del 2020 sobre aigua",
    "meta": {"id": "q7", "lang": "CA", "original_query": "aigua, UN, Talaia 2020"},
}


def make() -> Example:
    row = {"id": "q7", "query": "aigua, UN, Talaia 2020", "target": TARGET}
    return next(query_json.load([row], query_json.Options()))


REPLIES_OF_EVERY_TYPE = (
    '{"organisations": ["UB"]}',
    '{"organisations": "UB"}',
    '{"organisations": {"name": "UB"}}',
    '{"organisations": [null, 7, [], {"name": ["UB"], "type": {}}]}',
    '{"filters": null}',
    '{"filters": []}',
    '{"filters": {"programme": ["ERC"], "year": 2020, "location": {"a": 1}}}',
    '{"filters": {"year": 1e999}}',
    '{"filters": {"year": ' + "9" * 4000 + "}}",
    '{"filters": {"year": true}}',
    '{"semantic_query": ["a"], "query_rewrite": {"a": 1}}',
    '{"semantic_query": "\\ud800", "query_rewrite": "\\udfff on \\ud800"}',
    '{"metric": [], "metric_params": [[]]}',
    '{"metric_params": {"k": NaN}}',
    '{"metric_params": {"k": {"deep": [' * 9 + "]}}" * 9,
    '{"meta": 7}',
    '{"a": 1, "a": 2}',
    "[" * 19_999,
    '{"a":' * 3_900,
    '{"query_rewrite": "' + "\\u0301\\u0323" * 1_600 + '"}',
    '{"semantic_query": "' + "a " * 9_900 + '"}',
    '{"organisations": [' + "{}," * 6_600 + "{}]}",
    "```" + " " * 19_000,
)


@pytest.mark.parametrize("reply", REPLIES_OF_EVERY_TYPE, ids=range(len(REPLIES_OF_EVERY_TYPE)))
def test_no_reply_raises_whatever_its_types(reply: str) -> None:
    example = make()
    query_json.score(example, example.target)  # tables and detector are loaded
    started = time.process_time()
    scores = query_json.score(example, reply)
    why = query_json.why(example, reply, scores)
    assert time.process_time() - started < 1.5
    assert scores["strict"] == 0.0 and why
    assert {name for name, value in scores.items() if value} <= {"valid_json"}


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=12,
)
NAMES = st.sampled_from([*TARGET, *TARGET["filters"], "type", "name", "metric", "metric_params"])
QUERIES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.just("2020"),
    lambda inner: st.lists(inner) | st.dictionaries(NAMES, inner),
    max_leaves=20,
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(reply=st.text() | st.one_of(JSON_VALUES, QUERIES).map(json.dumps))
@case(reply=json.dumps(TARGET))
def test_any_reply_has_finite_scores(reply: str) -> None:
    example = make()
    scores = query_json.score(example, reply)
    assert set(scores) == set(query_json.METRICS) - {"quantity"}
    assert all(0.0 <= value <= 1.0 for value in scores.values())
    assert bool(query_json.why(example, reply, scores)) is (scores["strict"] < 1.0)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(key=st.sampled_from(list(TARGET)), value=JSON_VALUES)
def test_any_value_under_any_key_has_finite_scores(key: str, value: Any) -> None:
    scores = query_json.score(make(), json.dumps(TARGET | {key: value}))
    assert all(0.0 <= score <= 1.0 for score in scores.values())
