"""Map the columns of a file to the fields of a task.

data.columns {question: Prompt, sql: SQL, group: Indice} turns {"Indice": 19.0, "Prompt": "¿…?",
"SQL": "SELECT …"} into {"question": "¿…?", "sql": "SELECT …", "id": "1", "group": "19", "split":
None}. Every row has id, group and split; the id defaults to the row number, the group to the id.
`meta.lang` is the value `lang` inside the column `meta`, `*` the whole row as an object.
"""

import difflib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from datasets_src.errors import UserError
from datasets_src.reading.bad_rows import BadRows, RowFault, refuse
from datasets_src.split import SIDES, normalise_side
from datasets_src.task import COMMON_FIELDS

Row = dict[str, Any]
SHOWN = 10
# If this many rows lack the columns before the first one that has them, data.columns is wrong.
MAX_UNLIKE = 100
WHOLE_ROW = "*"
NO_COLUMN, NO_VALUE = "missing column", "missing value"
SAME_ID, UNKNOWN_SPLIT = "duplicate id", "unknown split"


def map_rows(
    rows: Iterable[Row],
    columns: Mapping[str, str],
    *,
    fields: Mapping[str, str],
    path: Path,
    key: str,
    id_prefix: str = "",
    bad: BadRows | None = None,
) -> Iterator[Row]:
    """Rows with the task's `fields` and id, group and split.

    Args:
        rows: raw rows (`read_rows`), read with the same `bad`.
        columns: field -> column, where the names differ.
        fields: the task's fields, name -> meaning.
        path: the file, for messages.
        key: the config key that named the file, for messages.
        id_prefix: put before an id that is a row number.
        bad: collects rows that cannot be used; if None, the first one raises. Bad rows count in the
            row numbers that become ids, so fixing one changes no other row.

    Raises:
        UserError: missing columns, missing values, duplicate ids, unknown splits.
    """
    where = f"{key}: {path}"
    place_of_id: dict[str, int] = {}
    empty: dict[tuple[str, str], list[int]] = {}
    named = _with_names(rows, columns, fields=fields, where=where, bad=bad)
    for number, (names, raw) in enumerate(named, start=1):
        number, place = (bad.num_file_rows, bad.number) if bad else (number, number)
        row, fault = _map_row(raw, names, fields=fields, default_id=f"{id_prefix}{number}")
        if fault and fault.kind == NO_VALUE and bad is None:
            for field in (field for field in fields if row[field] is None):
                empty.setdefault((field, names[field]), []).append(number)
            fault = None
        at = f"{where}: row {number}"
        if fault is None and (first := place_of_id.setdefault(row["id"], place)) != place:
            at, fault = where, _same_id(row["id"], first, place, column=names["id"], bad=bad)
        if fault is None:
            yield row
        else:
            refuse(fault, bad, where=at, id=row["id"])
    if empty:
        total = len(place_of_id)
        raise UserError(*(_explain_empty(where, *names, n, total) for names, n in empty.items()))


def _with_names(
    rows: Iterable[Row],
    columns: Mapping[str, str],
    *,
    fields: Mapping[str, str],
    where: str,
    bad: BadRows | None,
) -> Iterator[tuple[dict[str, str], Row]]:
    """Each row with the column of each field, resolved on the first row that has them all."""
    names: dict[str, str] = {}
    unlike: list[UserError] = []
    for raw in rows:
        try:
            names = names or _resolve(list(raw), columns, fields=fields, where=where)
        except UserError as error:
            unlike.append(error)
            if bad is None or len(unlike) == MAX_UNLIKE:
                raise unlike[0] from None
            what = error.faults[0].removeprefix(f"{where}: ").split(";")[0]
            bad.add(NO_COLUMN, what, id=clean_key(raw.get(columns.get("id", "id"))))
        else:
            yield names, raw
    if unlike and not names:
        raise unlike[0]


def _map_row(
    raw: Row, names: Mapping[str, str], *, fields: Mapping[str, str], default_id: str
) -> tuple[Row, RowFault | None]:
    row: Row = {field: _value(raw, names[field]) for field in fields}
    row["id"] = clean_key(_value(raw, names["id"])) or default_id
    row["group"] = clean_key(_value(raw, names["group"])) or row["id"]
    side = clean_key(_value(raw, names["split"]))
    row["split"] = normalise_side(side) if side else None
    if side and row["split"] is None:
        known = ", ".join(sorted({name for names in SIDES.values() for name in names}))
        what = f"{side!r} in column {names['split']!r} is not a known split"
        return row, RowFault(UNKNOWN_SPLIT, what, f"known (case-insensitive): {known}")
    if missing := [f"{names[field]!r} (field {field!r})" for field in fields if row[field] is None]:
        what = f"no value in column {', '.join(missing)}"
        return row, RowFault(NO_VALUE, what, "fill or delete it")
    return row, None


def _value(raw: Row, name: str) -> Any:
    """The value of the column `name`, or None."""
    if name == WHOLE_ROW:
        return raw
    if name in raw:
        return raw[name]
    value: Any = raw
    for part in name.split("."):
        value = value.get(part) if isinstance(value, dict) else None
    return value


def _same_id(id: str, first: int, second: int, *, column: str, bad: BadRows | None) -> RowFault:
    rows = f"already used by {bad.place(first)}" if bad else f"in both row {first} and row {second}"
    remedy = f"make the column {column!r} unique, or map id to another column in data.columns"
    return RowFault(SAME_ID, f"duplicate id {id!r}: {rows}", remedy)


def clean_key(value: Any) -> str:
    """An id or a group as text: 19.0 and 19 both give "19", None gives ""."""
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
    if wanted in present or wanted == WHOLE_ROW:
        return wanted
    # The column may hold objects; a row without one has no value for the field.
    if "." in wanted and wanted.split(".")[0] in present:
        return wanted
    same = [name for name in present if name.strip().casefold() == wanted.casefold()]
    return same[0] if len(same) == 1 else None


def _missing(field: str, wanted: str, present: list[str], meaning: str, where: str) -> str:
    folded = {name.casefold(): name for name in present}
    near = difflib.get_close_matches(wanted.casefold(), list(folded), n=1, cutoff=0.5)
    column = folded[near[0]] if near else "<column>"
    described = f" ({meaning})" if meaning else ""
    return (
        f"{where}: no column {wanted!r} for the field {field!r}{described}; present: "
        f"{', '.join(present)}; add data.columns: {{{field}: {column}}}"
    )


def _unknown_field(field: str, known: list[str]) -> str:
    near = difflib.get_close_matches(field, known, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]}? " if near else ""
    return f"data.columns.{field}: not a field of this task; {hint}fields: {', '.join(known)}"


def _explain_empty(where: str, field: str, column: str, numbers: list[int], total: int) -> str:
    shown = ", ".join(str(number) for number in numbers[:SHOWN])
    more = ", …" if len(numbers) > SHOWN else ""
    return (
        f"{where}: no value in column {column!r} (field {field!r}) in {len(numbers)} of {total}"
        f" rows ({shown}{more}); fill or delete them"
    )
