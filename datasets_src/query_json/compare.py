"""Compares a parsed query with the gold query, field by field.

compare(gold, reply, Tables(...), language="ca") -> {"strict": 0.0, "programme": 1.0, ...}

Follows the authors' validate.py, with its faults fixed: a reply that is not a JSON object scores 0,
a missing key is not a correct null, organisations are unordered, an unnamed one is identified by
type and place, and the language is detected, not guessed from substrings.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from datasets_src.query_json.equivalence import NEVER, Table
from datasets_src.query_json.schema import Query
from datasets_src.query_json.years import meaning
from datasets_src.text.folding import all_words, fold, words
from datasets_src.text.language import detect

Object = Mapping[str, Any]

FILTERS = ("programme", "funding_level", "year", "location", "location_level")
# Fields that `strict` and `relaxed` require; the latter ignores details of organisations.
STRICT = (
    *("schema_valid", "doc_type", "quantity", *FILTERS),
    *("organisations_exact", "semantic", "language"),
)
RELAXED = ("doc_type", "quantity", *FILTERS, "organisations_relaxed", "semantic")
METRICS = (
    *("strict", "relaxed", "valid_json", "schema_valid", "doc_type", "quantity", *FILTERS),
    *("organisations_exact", "organisations_relaxed", "semantic", "language", "rewrite"),
)
MIN_OVERLAP = 0.5
PLAIN = Table()


@dataclass(frozen=True)
class Tables:
    """The equivalence tables of each kind of name."""

    organisations: Table = PLAIN
    programmes: Table = PLAIN
    types: Table = PLAIN
    places: Table = PLAIN
    topics: Table = PLAIN


def compare(
    gold: Object, reply: Object | None, tables: Tables, *, language: str
) -> dict[str, float]:
    """METRICS in [0, 1], without `doc_type` and `quantity` if the gold query lacks them.

    `reply` is None for a reply that is not a JSON object; every metric is 0 then.
    """
    applicable = [name for name in METRICS if _applies(name, gold)]
    if reply is None:
        return dict.fromkeys(applicable, 0.0)
    found: dict[str, float] = {
        "valid_json": 1.0,
        "schema_valid": float(schema_fault(reply) == ""),
        "doc_type": _doc_type(gold, reply),
        "quantity": float(_quantity(gold) == _quantity(reply)),
        **_filters(gold["filters"], _dict(reply.get("filters")), tables),
        **_organisations(gold["organisations"], reply.get("organisations"), tables),
        "semantic": _semantic(gold, reply, tables.topics),
        "language": _language(gold, reply, language),
        "rewrite": _rewrite(gold["query_rewrite"], reply.get("query_rewrite", NEVER)),
    }
    # Over all names, not only `applicable`: a metric where the query has none is wrong too.
    found["strict"] = min(found[name] for name in STRICT)
    found["relaxed"] = min(found[name] for name in RELAXED)
    return {name: found[name] for name in applicable}


def _applies(name: str, gold: Object) -> bool:
    key = {"doc_type": "doc_type", "quantity": "metric"}.get(name)
    return key is None or gold.get(key) is not None


def schema_fault(value: Object) -> str:
    """The first violation of the schema, as "filters.year: message"; "" if valid."""
    try:
        Query.model_validate(value)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(map(str, first["loc"]))
        return f"{place}: {first['msg'].removeprefix('Value error, ')}"
    return ""


def _dict(value: Any) -> Object:
    return value if isinstance(value, dict) else {}


def _same(gold: Object, reply: Object, name: str, table: Table) -> float:
    return float(table.key(gold.get(name)) == table.key(reply.get(name, NEVER)))


def _doc_type(gold: Object, reply: Object) -> float:
    # IMPULSE's ten gold rows have none, so any value is right there.
    return 1.0 if gold.get("doc_type") is None else _same(gold, reply, "doc_type", PLAIN)


def _quantity(query: Object) -> tuple[Any, Any]:
    """Metric and non-null parameters; both are absent or null in a discovery query."""
    params = query.get("metric_params") or {}
    if isinstance(params, dict):
        params = {name: fold(v) if isinstance(v, str) else v for name, v in params.items()}
        params = {name: value for name, value in params.items() if value is not None}
    return PLAIN.key(query.get("metric")), params


def _filters(gold: Object, reply: Object, tables: Tables) -> dict[str, float]:
    by_table = {"programme": tables.programmes, "location": tables.places}
    found = {name: _same(gold, reply, name, by_table.get(name, PLAIN)) for name in FILTERS}
    found["year"] = float(_year(gold["year"]) == _year(reply.get("year", NEVER)))
    return found


def _year(value: Any) -> Any:
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)  # 2023 for "2023": violates the schema, but is the right year
    return meaning(value) if isinstance(value, str) else None if value is None else NEVER


def _organisations(gold: list[Object], reply: Any, tables: Tables) -> dict[str, float]:
    """Whether both sides have equivalent organisations, in any order.

    Equivalent names have equal keys, so comparing multisets of keys finds the maximum matching.
    """
    exact = relaxed = False
    if isinstance(reply, list) and len(reply) == len(gold):
        found = [_dict(item) for item in reply]
        exact = _exact_keys(gold, tables) == _exact_keys(found, tables)
        relaxed = _relaxed_keys(gold, tables) == _relaxed_keys(found, tables)
    return {"organisations_exact": float(exact), "organisations_relaxed": float(relaxed)}


def _exact_keys(items: list[Object], tables: Tables) -> Counter[Any]:
    return Counter(
        (
            tables.types.key(item.get("type", NEVER)),
            tables.organisations.key(item.get("name", NEVER)),
            tables.places.key(item.get("location", NEVER)),
            PLAIN.key(item.get("location_level", NEVER)),
        )
        for item in items
    )


def _relaxed_keys(items: list[Object], tables: Tables) -> Counter[Any]:
    """Keys by name, or by type and place for unnamed ones, which would all be equal otherwise."""
    return Counter(
        (tables.organisations.key(item.get("name", NEVER)),)
        if item.get("name", NEVER) is not None
        else (
            tables.types.key(item.get("type", NEVER)),
            tables.places.key(item.get("location", NEVER)),
        )
        for item in items
    )


def _semantic(gold: Object, reply: Object, topics: Table) -> float:
    """1 if equal, equivalent, or sharing over half of the larger side's words; else 0."""
    gold_text, reply_text = gold["semantic_query"], reply.get("semantic_query", NEVER)
    if topics.key(gold_text) == topics.key(reply_text):
        return 1.0
    if not (isinstance(gold_text, str) and isinstance(reply_text, str)):
        return 0.0
    left, right = (set(map(topics.key, words(text))) for text in (gold_text, reply_text))
    return float(len(left & right) > MIN_OVERLAP * max(len(left), len(right), 1))


def _language(gold: Object, reply: Object, language: str) -> float:
    """Whether the reply's own words are in the language of the query.

    They are in `query_rewrite`, or if that is missing in `semantic_query`. A text equal to the gold
    one is right whatever the detector returns.
    """
    gold_text, reply_text = _own_words(gold), _own_words(reply)
    if reply_text is None:
        return float(gold_text is None)
    if gold_text is not None and fold(reply_text) == fold(gold_text):
        return 1.0
    # "List of projects by Agència Montefría" is English: the detector is wrong on 15 of the 504
    # rewrites of the shipped set with the names in them, on none without.
    return float(detect(reply_text, without=_names(gold) | _names(reply)) == language)


def _own_words(query: Object) -> str | None:
    texts = (query.get("query_rewrite"), query.get("semantic_query"))
    return next((text for text in texts if isinstance(text, str) and text.strip()), None)


def _names(query: Object) -> set[str]:
    """Words in names of programmes, organisations and places."""
    filters, items = _dict(query.get("filters")), query.get("organisations")
    values = [filters.get("programme"), filters.get("location")]
    for item in map(_dict, items if isinstance(items, list) else ()):
        values += [item.get("name"), item.get("location")]
    return set().union(*(words(value) for value in values if isinstance(value, str)))


def _rewrite(gold: str | None, reply: Any) -> float:
    """Word F1; reported only, since a reworded rewrite is as good."""
    if not (isinstance(gold, str) and isinstance(reply, str)):
        return float(gold is None and reply is None)
    left, right = Counter(all_words(gold)), Counter(all_words(reply))
    total = left.total() + right.total()
    return 2 * (left & right).total() / total if total else float(fold(gold) == fold(reply))
