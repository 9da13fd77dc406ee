"""Equivalence tables: names of the same organisation, programme, type, place or topic.

table = open_table("places.tsv", key="data.task_options.places_file", allow_ambiguous=False)
table.key("Lérida") == table.key("lleida")

    places.tsv             name    canonical name    (a header; further columns are ignored)
                           lerida  lleida
    organisations.json     {"Universitat de Lleida": ["UdL", "University of Lleida"]}
    ror_mappings.json      {"mappings": {"udl": ["https://ror.org/050c3cw24"]}, …}

A line is an edge from a name to another. Following the edges to their end gives the name's class.
Names that list both themselves and each other (h2020 and horizon in IMPULSE's table) are one node.
"""

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import Any

from datasets_src.errors import UserError
from datasets_src.query_json.schema import unique
from datasets_src.text.folding import fold

SHOWN = 5
NEVER = object()  # the key of a non-name, equal to no name's key

Edge = tuple[str, str]


@dataclass(frozen=True)
class Table:
    """Folded name -> class; a name outside the table is its own class."""

    classes: Mapping[str, str] = field(default_factory=dict)

    def key(self, name: Any) -> Any:
        """Equal for equivalent names; None for null; NEVER for anything else than text or null."""
        if name is None:
            return None
        if not isinstance(name, str):
            return NEVER
        folded = fold(name)
        return self.classes.get(folded, folded)


@lru_cache(maxsize=64)
def open_table(path: str, *, key: str, allow_ambiguous: bool) -> Table:
    """The table in the file `path`, read once per process; `key` is the option that names it.

    A name that belongs to several classes is an error, or its own class under `allow_ambiguous`.

    Raises:
        UserError: the file is missing or not a table, the edges have a cycle, or a name is in
            several classes.
    """
    where = f"data.task_options.{key}: {path}"
    edges: dict[str, set[str]] = defaultdict(set)
    spelling: dict[str, str] = {}
    for name, target in _read_edges(Path(path), where):
        edges[fold(name)].add(fold(target))
        spelling.setdefault(fold(name), name)
        spelling.setdefault(fold(target), target)
    if not edges:
        raise UserError(f"{where}: has no names; give a table with a header and at least one row")
    ends = _resolve(edges, where, spelling)
    ambiguous = {name: found for name, found in ends.items() if len(found) > 1}
    if ambiguous and not allow_ambiguous:
        raise UserError(_ambiguous_message(where, ambiguous, spelling))
    return Table({n: n if n in ambiguous else next(iter(found)) for n, found in ends.items()})


def _read_edges(path: Path, where: str) -> Iterable[Edge]:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8"
        raise UserError(f"{where}: cannot be read ({reason}); give a .tsv or .json file") from None
    return _json_edges(text, where) if path.suffix.lower() == ".json" else _tsv_edges(text, where)


def _tsv_edges(text: str, where: str) -> Iterator[Edge]:
    lines = [
        (number, line)
        for number, line in enumerate(text.split("\n"), start=1)
        if line.strip() and not line.startswith("#")
    ]
    for number, line in lines[1:]:  # after the header
        cells = [cell.strip() for cell in line.split("\t")]
        if len(cells) < 2 or not (cells[0] and cells[1]):
            raise UserError(f"{where}:{number}: {line!r} is not two columns; write name<TAB>name")
        yield cells[0], cells[1]


def _json_edges(text: str, where: str) -> Iterator[Edge]:
    remedy = 'write {"canonical name": ["other name", ...]}'
    try:
        value = json.loads(text, object_pairs_hook=unique)
    except (ValueError, RecursionError) as error:
        raise UserError(f"{where}: not JSON ({error}); {remedy}") from None
    # IMPULSE's file for organisations is inverted: name -> identifiers.
    inverse = isinstance(value, dict) and isinstance(value.get("mappings"), dict)
    table = value["mappings"] if inverse else value
    if not isinstance(table, dict):
        raise UserError(f"{where}: a {type(value).__name__}, not an object; {remedy}")
    for name, others in table.items():
        if not isinstance(others, list) or not all(isinstance(other, str) for other in others):
            raise UserError(f"{where}: {name!r} has {others!r}, not a list of names; {remedy}")
        if not inverse:
            yield name, name
        for other in others:
            yield (name, other) if inverse else (other, name)


def _resolve(
    edges: Mapping[str, set[str]], where: str, spelling: Mapping[str, str]
) -> dict[str, set[str]]:
    """The classes of each name: the nodes without outgoing edges that it reaches."""
    merged_into = _merge_mutual(edges)
    targets = {
        name: {merged_into.get(t, t) for t in found} - {merged_into.get(name, name)}
        for name, found in edges.items()
    }
    merged: dict[str, set[str]] = defaultdict(set)
    for name, found in targets.items():
        merged[merged_into.get(name, name)] |= found
    try:
        order = list(TopologicalSorter(merged).static_order())
    except CycleError as error:
        circle = [spelling[name] for name in reversed(error.args[1])]
        raise UserError(
            f"{where}: {' -> '.join(map(repr, circle))} is a cycle, so none is canonical; "
            f"remove the line {circle[0]!r} -> {circle[1]!r}"
        ) from None
    ends: dict[str, set[str]] = {}
    for name in order:
        ends[name] = set().union(*(ends[t] for t in merged.get(name, ()))) or {name}
    return {name: ends[merged_into.get(name, name)] for name in {*order, *edges}}


def _merge_mutual(edges: Mapping[str, set[str]]) -> dict[str, str]:
    """Maps names that list themselves and each other to one representative."""
    merged_into: dict[str, str] = {}
    for name in sorted(n for n, found in edges.items() if n in found):
        for other in sorted(edges[name] - {name}):
            if {name, other} <= edges.get(other, set()):
                first, second = (
                    merged_into.setdefault(name, name),
                    merged_into.setdefault(other, other),
                )
                merged_into |= {n: first for n, group in merged_into.items() if group == second}
    return merged_into


def _ambiguous_message(
    where: str, ambiguous: Mapping[str, set[str]], spelling: Mapping[str, str]
) -> str:
    listed = [
        f"{spelling[name]!r} ({', '.join(sorted(spelling[end] for end in ends))})"
        for name, ends in sorted(ambiguous.items())
    ]
    more = f" and {len(listed) - SHOWN} more" if len(listed) > SHOWN else ""
    are = "names are" if len(listed) > 1 else "name is"
    return (
        f"{where}: {len(listed)} {are} in more than one class: {', '.join(listed[:SHOWN])}{more}; "
        "keep one for each, or set task_options: {ambiguous_names: apart}"
    )
