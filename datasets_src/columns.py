"""From the columns of a file to the fields of a task.

data.columns {question: Prompt, sql: SQL, group: Indice} turns {"Indice": 19.0, "Prompt": "¿…?",
"SQL": "SELECT …"} into {"question": "¿…?", "sql": "SELECT …", "id": "1", "group": "19", "split":
None}: id, group and split are always there; ids default to the row number, groups to the id.
"""

import difflib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from datasets_src.errors import UserError
from datasets_src.split import SIDES, normalise_side
from datasets_src.task import COMMON_FIELDS

Row = dict[str, Any]
SHOWN = 10


def map_rows(
    rows: Iterable[Row],
    columns: Mapping[str, str],
    *,
    fields: Mapping[str, str],
    path: Path,
    key: str,
    id_prefix: str = "",
) -> Iterator[Row]:
    """Rows with the task's `fields` and id, group, split; `columns` is field -> column.

    Raises:
        UserError: missing columns, empty required values, repeated ids, unknown splits.
    """
    where = f"{key}: {path}"
    names: dict[str, str] = {}
    row_of_id: dict[str, int] = {}
    empty: dict[str, list[int]] = {}
    for number, raw in enumerate(rows, start=1):
        names = names or _resolve(list(raw), columns, fields=fields, where=where)
        row: Row = {field: raw.get(names[field]) for field in fields}
        for field in (field for field in fields if row[field] is None):
            empty.setdefault(field, []).append(number)
        row["id"] = clean_key(raw.get(names["id"])) or f"{id_prefix}{number}"
        row["group"] = clean_key(raw.get(names["group"])) or row["id"]
        row["split"] = _side(raw.get(names["split"]), f"{where}: row {number}", names["split"])
        if (first := row_of_id.setdefault(row["id"], number)) != number:
            raise UserError(
                f"{where}: id {row['id']!r} stands in rows {first} and {number}; make the column"
                f" {names['id']!r} unique, or map id to another in data.columns"
            )
        yield row
    if empty:
        total = len(row_of_id)
        raise UserError(*(_explain_empty(where, f, names[f], n, total) for f, n in empty.items()))


def clean_key(value: Any) -> str:
    """An id or a group as text: 19.0 and 19 are both "19"; nothing is ""."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return "" if value is None else str(value).strip()


def _resolve(
    present: list[str], columns: Mapping[str, str], *, fields: Mapping[str, str], where: str
) -> dict[str, str]:
    known = [*fields, *(field for field in COMMON_FIELDS if field not in fields)]
    faults = [_unknown_field(field, known) for field in columns if field not in known]
    names: dict[str, str] = {}
    for field in known:
        wanted = columns.get(field, field)
        found = _find(wanted, present)
        if found is None and (field in fields or field in columns):
            faults.append(_missing(field, wanted, present, fields.get(field, ""), where))
        names[field] = found or wanted
    if faults:
        raise UserError(*faults)
    return names


def _find(wanted: str, present: list[str]) -> str | None:
    if wanted in present:
        return wanted
    same = [name for name in present if name.strip().casefold() == wanted.casefold()]
    return same[0] if len(same) == 1 else None


def _missing(field: str, wanted: str, present: list[str], meaning: str, where: str) -> str:
    folded = {name.casefold(): name for name in present}
    near = difflib.get_close_matches(wanted.casefold(), list(folded), n=1, cutoff=0.5)
    column = folded[near[0]] if near else "<column>"
    held = f" ({meaning})" if meaning else ""
    return (
        f"{where}: no column {wanted!r} for the field {field!r}{held}; present: "
        f"{', '.join(present)}; add data.columns: {{{field}: {column}}}"
    )


def _unknown_field(field: str, known: list[str]) -> str:
    near = difflib.get_close_matches(field, known, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]}? " if near else ""
    return f"data.columns.{field}: no field of this task; {hint}fields: {', '.join(known)}"


def _explain_empty(where: str, field: str, column: str, numbers: list[int], total: int) -> str:
    shown = ", ".join(str(number) for number in numbers[:SHOWN])
    more = ", …" if len(numbers) > SHOWN else ""
    return (
        f"{where}: no value in column {column!r} (field {field!r}) in {len(numbers)} of {total}"
        f" rows ({shown}{more}); fill or delete them"
    )


def _side(value: Any, where: str, column: str) -> str | None:
    text = clean_key(value)
    if not text:
        return None
    if (side := normalise_side(text)) is None:
        known = ", ".join(sorted({name for names in SIDES.values() for name in names}))
        raise UserError(
            f"{where}: {text!r} in column {column!r} is no split; known, in any case: {known}"
        )
    return side
