"""Parsing a Catalan, Spanish or English search query into JSON; scored field by field.

{"id": "c0007", "group": "in_year:brúixola:2019", "query": "projectes BRUIXOLA del 2019",
 "target": {"doc_type": "projects", "filters": {…}, "organisations": [], "semantic_query": null,
            "query_rewrite": "Llista de projectes Brúixola 2030 del 2019", "meta": {"lang": "CA"}}}

IMPULSE's task (github.com/sirisacademic/aina-impulse); the full schema is in
datasets_src/query_json/schema.py. A row of its files is the target itself: columns: {query:
meta.original_query, target: "*", id: meta.id}. The prompt is the authors' conversation; its system
turn, the only part that rows share, already comes first.
"""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from datasets_src.config import Section
from datasets_src.errors import UserError
from datasets_src.query_json import compare as fields
from datasets_src.query_json.compare import Tables, compare, schema_fault
from datasets_src.query_json.equivalence import Table, open_table
from datasets_src.query_json.schema import Query, read_object
from datasets_src.text.folding import words
from datasets_src.types import Example, Message

FIELDS = {"query": "the user's search query", "target": "the parsed query, an object or JSON text"}
# All fields that a search uses are right. `relaxed` ignores the type and place of an organisation,
# which change the search results, and the language of the reply.
METRIC = "strict"
METRICS = fields.METRICS
STOP = ("\n\n",)
TABLES = ("organisations", "programmes", "types", "places", "topics")
# The authors' error classes, worst first.
ERRORS = {
    "language": "language mismatch",
    "programme": "wrong programme",
    "organisations_relaxed": "wrong organisations",
    "doc_type": "wrong document type",
    "quantity": "wrong quantity",
    "year": "wrong year",
    "location": "wrong location",
    "semantic": "wrong semantic query",
    "organisations_exact": "wrong type or place of an organisation",
    "funding_level": "wrong funding level",
    "location_level": "wrong location level",
}


class Options(Section):
    """`data.task_options` of this task."""

    target_form: Literal["authors", "compact"] = Field(
        "authors", description="target: JSON with indent=2 as in IMPULSE, or without white space"
    )
    system_prompt_file: str | None = Field(None, description="text file of the system message")
    organisations_file: str | None = Field(
        None, description="equivalent organisation names, .tsv or .json"
    )
    programmes_file: str | None = Field(None, description="equivalent programmes")
    types_file: str | None = Field(None, description="equivalent organisation types")
    places_file: str | None = Field(None, description="equivalent places")
    topics_file: str | None = Field(None, description="equivalent semantic queries and words")
    ambiguous_names: Literal["refuse", "apart"] = Field(
        "refuse",
        description="names in several classes of a table: an error, or a class of their own",
    )


def check(options: Options) -> None:
    """Raise UserError with every table and text file that is missing or malformed."""
    faults: list[str] = []
    checks: list[Callable[[], object]] = [partial(_system_prompt, options)]
    checks += [partial(_open, options.ambiguous_names, *named) for named in _paths(options).items()]
    for check_part in checks:
        try:
            check_part()
        except UserError as error:
            faults += error.faults
    if faults:
        raise UserError(*faults)


def load(rows: Iterable[Mapping[str, Any]], options: Options) -> Iterator[Example]:
    """Examples from mapped rows; targets keep only the schema's keys, without meta.id.

    Raises:
        UserError: immediately, what `check` finds; while iterating, a target that violates the
            schema.
    """
    check(options)
    shared = {
        "system": _system_prompt(options),
        "tables": _paths(options),
        "ambiguous_names": options.ambiguous_names,
    }
    return (_example(index, row, shared, options) for index, row in enumerate(rows, start=1))


def _example(
    index: int, row: Mapping[str, Any], shared: Mapping[str, Any], options: Options
) -> Example:
    identity = str(row["id"]) if row.get("id") is not None else str(index)
    query = row.get("query")
    if not isinstance(query, str) or not query.strip():
        raise UserError(
            f"data.train_file: row {identity}: `query` is {query!r}, expected text; "
            "fill it in or remove the row"
        )
    target = _target(row.get("target"), identity)
    split = row.get("split")
    return Example(
        id=identity,
        group=str(row["group"]) if row.get("group") is not None else identity,
        inputs={"query": query, "language": target["meta"]["lang"].lower(), **shared},
        target=_write(target, options.target_form),
        split=None if split is None else str(split),
    )


def _target(value: Any, identity: str) -> dict[str, Any]:
    where = f"data.train_file: row {identity}: `target`"
    given = read_object(value) if isinstance(value, str) else value
    if not isinstance(given, dict):
        raise UserError(f"{where} is not a JSON object; write one, or remove the row")
    kept = {name: given[name] for name in given if name in Query.model_fields}
    if isinstance(kept.get("meta"), dict):
        kept["meta"] = {name: v for name, v in kept["meta"].items() if name != "id"}
    if fault := schema_fault(kept):
        raise UserError(f"{where}.{fault}; correct it, or remove the row")
    return kept


def _write(target: Mapping[str, Any], form: str) -> str:
    if form == "authors":
        return json.dumps(target, ensure_ascii=False, indent=2)
    return json.dumps(target, ensure_ascii=False, separators=(",", ":"))


def _system_prompt(options: Options) -> str:
    if options.system_prompt_file is None:
        return ""
    path = Path(options.system_prompt_file).expanduser()
    try:
        return path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8"
        raise UserError(
            f"data.task_options.system_prompt_file: {path} cannot be read ({reason}); give a UTF-8 "
            "text file with the system message"
        ) from error


def _paths(options: Options) -> dict[str, str]:
    """Absolute paths, since workers start in other directories."""
    named = ((name, getattr(options, f"{name}_file")) for name in TABLES)
    return {name: str(Path(path).expanduser().resolve()) for name, path in named if path}


def _open(ambiguous_names: str, name: str, path: str) -> Table:
    return open_table(path, key=f"{name}_file", allow_ambiguous=ambiguous_names == "apart")


def to_messages(example: Example) -> list[Message]:
    """The system turn, if any, and the query as typed."""
    turns = [Message(role="user", content=example.inputs["query"])]
    if example.inputs["system"]:
        turns.insert(0, Message(role="system", content=example.inputs["system"]))
    return turns


def to_text(example: Example) -> tuple[str, str]:
    """The same without a chat template; an empty line, which JSON lacks, ends the target."""
    system = example.inputs["system"]
    head = f"{system}\n\n" if system else ""
    return f"{head}### Query: {example.inputs['query']}\n### JSON:\n", f"{example.target}\n\n"


def score(example: Example, reply: str) -> dict[str, float]:
    """METRICS of one reply, see `compare`. No reply raises."""
    opened = {
        name: _open(example.inputs["ambiguous_names"], name, path)
        for name, path in example.inputs["tables"].items()
    }
    return compare(
        _gold(example.target),
        read_object(reply),
        Tables(**opened),
        language=example.inputs["language"],
    )


def why(example: Example, reply: str, scores: Mapping[str, float]) -> str:
    """The worst three of the authors' error classes; "" if `strict` is 1."""
    if scores[METRIC] == 1.0:
        return ""
    given = read_object(reply)
    if given is None:
        return "invalid JSON" if reply.strip() else "invalid JSON (empty)"
    gold = _gold(example.target)
    wrong = [text for name, text in ERRORS.items() if scores.get(name) == 0.0]
    if "wrong organisations" in wrong:
        wrong.remove("wrong type or place of an organisation")
    if "wrong semantic query" in wrong and _holds_filter(gold, given):
        wrong[wrong.index("wrong semantic query")] = "extra filter in the semantic query"
    if fault := schema_fault(given):
        wrong.append(f"violates the schema ({fault})")
    return ", ".join(wrong[:3]) or "a quantity although the query has none"


def _holds_filter(gold: Mapping[str, Any], given: Mapping[str, Any]) -> bool:
    """Whether the reply's semantic query adds words of a filter or organisation to the gold one."""
    theirs = given.get("semantic_query")
    if not isinstance(theirs, str):
        return False
    mine = words(gold["semantic_query"] or "")
    values = [*gold["filters"].values(), *(item["name"] for item in gold["organisations"])]
    of_filters = set().union(*(words(value) for value in values if value))
    extra = words(theirs) - mine
    return mine <= words(theirs) and bool(extra & of_filters)


def slices(example: Example) -> dict[str, str]:
    """By language, discover or quantify, and shape, e.g. "filters+topic"."""
    gold = _gold(example.target)
    parts = {
        "filters": any(value is not None for value in gold["filters"].values()),
        "organisations": bool(gold["organisations"]),
        "topic": gold["semantic_query"] is not None,
    }
    return {
        "language": example.inputs["language"],
        "query_type": "discover" if gold.get("metric") is None else "quantify",
        "shape": "+".join(name for name, there in parts.items() if there) or "nothing",
    }


@lru_cache(maxsize=4096)
def _gold(target: str) -> Mapping[str, Any]:
    value = read_object(target)
    assert value is not None, target
    return value
