"""Reads IMPULSE's batches of queries with their JSON, and reports schema faults.

batches = read_batches(["batches/"], key="options.batches")
quality(batches)["faults"]      {"organisations.type: unknown value": {"num": 1, "first": ["Q7"]}}

    batch1.json     [{"meta": {"id": "Q1", "lang": "CA", "original_query": "…"}, "filters": {…}, …}]
    batch2.json     {"queries": [{…}, …]}
"""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from datasets_src.errors import UserError
from datasets_src.query_json.schema import Query
from datasets_src.reading.readers import read_rows
from datasets_src.text.folding import all_words

SHOWN = 3
_KINDS = {
    "missing": "missing",
    "literal_error": "unknown value",
    "extra_forbidden": "unknown field",
    "string_too_short": "empty",
    "value_error": "without notes",
}


@dataclass(frozen=True)
class Fault:
    """A schema fault: `reason` is counted ("organisations.type: unknown value"), `detail` shown."""

    reason: str
    detail: str


@dataclass(frozen=True)
class BatchQuery:
    """A query: `id` is unique over all batches, `value` is its parsed JSON."""

    id: str
    value: Mapping[str, Any]
    text: str
    language: str
    faults: tuple[Fault, ...]


def read_batches(given: Sequence[str], *, key: str) -> list[BatchQuery]:
    """The queries of files, and of batch*.json in folders, in order of file name.

    Raises:
        UserError: a missing path, a folder without batches, or an unreadable file.
    """
    numbered = [
        (f"{path.stem}:{number}", row)
        for text in given
        for path in _files(Path(text).expanduser(), key)
        for number, row in enumerate(read_rows(path, key=key), start=1)
    ]
    ids = Counter(_id(row) for _, row in numbered)
    # An id that several batches use is replaced by file and row number.
    return [
        _query(_id(row) if _id(row) and ids[_id(row)] == 1 else number, row)
        for number, row in numbered
    ]


def _files(path: Path, key: str) -> list[Path]:
    if not path.is_dir():
        return [path]
    if found := sorted(path.glob("batch*.json")):
        return found
    raise UserError(f"{key}: {path} holds no batch*.json; name the files, or another folder")


def _id(row: Mapping[str, Any]) -> str:
    meta = row.get("meta")
    return str(meta.get("id") or "") if isinstance(meta, dict) else ""


def _query(id: str, row: Mapping[str, Any]) -> BatchQuery:
    meta = row.get("meta")
    meta = meta if isinstance(meta, dict) else {}
    text = meta.get("original_query")
    faults = list(_faults(row))
    if not isinstance(text, str) or not text.strip():
        faults.append(Fault("meta.original_query: missing", repr(text)))
    return BatchQuery(
        id=id,
        value=row,
        text=text.strip() if isinstance(text, str) else "",
        language=str(meta.get("lang") or "").lower(),
        faults=tuple(faults),
    )


def _faults(row: Mapping[str, Any]) -> list[Fault]:
    """All schema faults; list indices are left out of the path."""
    try:
        Query.model_validate(dict(row))
    except ValidationError as error:
        return [
            Fault(
                f"{'.'.join(str(p) for p in fault['loc'] if not isinstance(p, int))}:"
                f" {_KINDS.get(fault['type'], 'wrong kind of value')}",
                repr(fault["input"])[:80],
            )
            for fault in error.errors(include_url=False)
        ]
    return []


def quality(queries: Sequence[BatchQuery]) -> dict[str, Any]:
    """The quality report: counts of queries and faults, for the card and the terminal."""
    faults: dict[str, list[str]] = defaultdict(list)
    for query in queries:
        for reason in dict.fromkeys(fault.reason for fault in query.faults):
            faults[reason].append(query.id)
    for id in repeated_ids(queries):
        faults["the same query again"].append(id)
    good = [query for query in queries if not query.faults]
    return {
        "num_queries": len(queries),
        "num_without_fault": len(good),
        "languages": _counted(query.language for query in good),
        "doc_types": _counted(str(query.value.get("doc_type")) for query in good),
        "query_types": _counted(
            "discover" if query.value.get("metric") is None else "quantify" for query in good
        ),
        "faults": {
            reason: {"num": len(ids), "first": ids[:SHOWN]}
            for reason, ids in sorted(faults.items(), key=lambda pair: (-len(pair[1]), pair[0]))
        },
    }


def repeated_ids(queries: Sequence[BatchQuery]) -> list[str]:
    """Ids of queries with the same words as an earlier one."""
    seen: set[tuple[str, ...]] = set()
    found = []
    for query in queries:
        words = tuple(all_words(query.text))
        if query.text and words in seen:
            found.append(query.id)
        seen.add(words)
    return found


def _counted(values: Any) -> dict[str, int]:
    return dict(sorted(Counter(values).items()))
