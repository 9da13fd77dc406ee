"""Query-to-JSON rows from IMPULSE's batches, with paraphrases of each query by the teacher.

batches: [batches/], num_wordings: 2
{"id": "Q1", "group": "Q1", "query": "projectes SIFECAT", "target": "{\\"filters\\": {…}, …}"}
{"id": "Q1~1", "group": "Q1", "query": "quins projectes hi ha de SIFECAT?", "target": …}

A query that lacks a required field or has a value unknown to the schema is dropped and counted; the
quality report (build.json, the card) lists all faults of all batches. A paraphrase that loses a
number or a name, or changes the language, would make its target wrong and is dropped. Paraphrases
stay in the group of their query, so a split never separates them.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import Field

from datasets_src.config import Section
from datasets_src.query_json.schema import Query
from datasets_src.recipes.contract import (
    GIVEN,
    TEACHER,
    Dropped,
    Item,
    NoAnswer,
    Row,
    TeacherSession,
)
from datasets_src.recipes.sources.query_batches import (
    BatchQuery,
    quality,
    read_batches,
    repeated_ids,
)
from datasets_src.text.folding import all_words, fold
from datasets_src.text.language import detect

TASK = "query_json"
OUTPUT = "query"
DEPENDS_ON = ("target",)
PLACEHOLDERS: Mapping[str, Mapping[str, str]] = {}
MUST_NAME: Mapping[str, tuple[str, ...]] = {}
LICENSE = "Apache-2.0"  # IMPULSE's, as its README says
# Tokens that a paraphrase must keep: numbers, acronyms, words with digits.
_FIXED = re.compile(r"\b(?:\w*\d\w*|[^\W\d_a-zà-ÿ]{2,})\b")


class Options(Section):
    """`options:` of the kind."""

    batches: tuple[str, ...] = Field(
        min_length=1, description="files, or folders with batch*.json; each a list or {queries: []}"
    )
    num_wordings: int = Field(
        0, ge=0, le=20, description="paraphrases of each query by the teacher"
    )
    license: str | None = Field(None, description=f"licence of the batches; default {LICENSE}")


@dataclass(frozen=True)
class Material:
    """All queries; `repeated` holds the ids of duplicates of earlier queries."""

    options: Options
    queries: Sequence[BatchQuery]
    repeated: frozenset[str]


def open_material(options: Options) -> Material:
    """Read the batches. UserError: a file that is missing or not JSON."""
    queries = read_batches(options.batches, key="options.batches")
    return Material(options, queries, frozenset(repeated_ids(queries)))


def report(material: Material) -> dict[str, Any]:
    """The quality report of all batches."""
    return quality(material.queries)


def items(material: Material) -> Iterator[Item | Dropped]:
    """The queries without faults or duplicates."""
    for query in material.queries:
        if query.faults:
            first = query.faults[0]
            yield Dropped(query.id, first.reason, first.detail, is_bad=True)
        elif query.id in material.repeated:
            yield Dropped(query.id, "the same query again", query.text)
        else:
            yield Item(query.id, query)


def make(item: Item, material: Material, *, session: TeacherSession) -> Iterator[Row | Dropped]:
    """The row of the original query, then those of its paraphrases."""
    query, options = item.data, material.options
    yield _row(query, query.text, item.id, GIVEN, options)
    if not options.num_wordings or not session.has_teacher:
        return
    try:
        wordings = session.reword(query.text, num=options.num_wordings)
    except NoAnswer as error:
        yield Dropped(item.id, error.reason, error.detail, is_bad=True)
        return
    for number, wording in enumerate(wordings, start=1):
        id = f"{item.id}~{number}"
        if lost := lost_by(wording, query):
            yield Dropped(id, f"a wording that {lost}", wording)
        else:
            yield _row(query, wording, id, TEACHER, options)


def _row(query: BatchQuery, text: str, id: str, origin: str, options: Options) -> Row:
    target = {name: query.value[name] for name in query.value if name in Query.model_fields}
    meta = {name: value for name, value in target["meta"].items() if name != "id"}
    target["meta"] = {**meta, "original_query": text}
    return Row(
        id,
        group=query.id,
        fields={"query": text, "target": json.dumps(target, ensure_ascii=False)},
        origin=origin,
        sources=(query.id,),
        license=options.license,
    )


def lost_by(wording: str, query: BatchQuery) -> str:
    """Why a paraphrase is unusable, e.g. "loses a name"; "" for a good one."""
    kept, original = set(all_words(wording)), set(all_words(query.text))
    if not {fold(word) for word in _FIXED.findall(query.text)} <= kept:
        return "loses a number or an acronym"
    names = [name for name in _names(query.value) if set(all_words(name)) <= original]
    if any(not set(all_words(name)) <= kept for name in names):
        return "loses a name"
    if set(_numbers(wording)) - set(_numbers(query.text)):
        return "adds a number"
    without = {word for name in _names(query.value) for word in all_words(name)}
    if detect(wording, without=without) not in (query.language, None):
        return "is in another language"
    return ""


def _names(value: Mapping[str, Any]) -> list[str]:
    """The programmes, places and organisations that the target names."""
    filters = value["filters"]
    found = [filters["programme"], filters["location"]]
    for organisation in value["organisations"]:
        found += [organisation["name"], organisation["location"]]
    return [name for name in found if name]


def _numbers(text: str) -> list[str]:
    return re.findall(r"\d+", text)
