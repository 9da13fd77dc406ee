"""Mapping columns to fields: defaults, clean keys, and errors that end with the line to add."""

from pathlib import Path
from typing import Any

import pytest

from datasets_src.errors import UserError
from datasets_src.reading.columns import clean_key, map_rows

FIELDS = {"question": "what is asked", "sql": "the answer"}
MAP = {"question": "Prompt", "sql": "SQL", "group": "Indice", "split": "Split"}
ROW = {"Indice": 19.0, "Prompt": "¿Qué?", "SQL": "SELECT 1", "Split": "Test", "other": 1}


def mapped(rows: list[dict[str, Any]], columns: dict[str, str], **more: Any) -> list[Any]:
    return list(map_rows(rows, columns, fields=FIELDS, path=Path("f.csv"), key="data.k", **more))


def faults(rows: list[dict[str, Any]], columns: dict[str, str]) -> tuple[str, ...]:
    with pytest.raises(UserError) as caught:
        mapped(rows, columns)
    return caught.value.faults


def test_fields_are_taken_from_their_columns() -> None:
    expected = {"question": "¿Qué?", "sql": "SELECT 1", "id": "1", "group": "19", "split": "test"}
    assert mapped([ROW], MAP) == [expected]


def test_ids_default_to_the_row_number_and_groups_to_the_id() -> None:
    rows = mapped([{"Question": "a", "SQL": "b"}] * 2, {}, id_prefix="validation-")
    assert [(r["id"], r["group"], r["split"]) for r in rows] == [
        ("validation-1", "validation-1", None),
        ("validation-2", "validation-2", None),
    ]


@pytest.mark.parametrize(
    ("value", "text"), [(19.0, "19"), (19, "19"), (1.5, "1.5"), (" a ", "a"), (None, ""), ("", "")]
)
def test_clean_key(value: Any, text: str) -> None:
    assert clean_key(value) == text


def test_a_value_within_a_column_and_the_whole_row() -> None:
    raw = {"meta": {"id": 7, "lang": {"iso": "ca"}}, "a.b": 1, "query": "x"}
    columns = {"question": "meta.lang.iso", "sql": "*", "id": "meta.id", "group": "a.b"}
    [row] = mapped([raw], columns)
    assert row == {"question": "ca", "sql": raw, "id": "7", "group": "1", "split": None}
    del columns["id"]
    withouts: list[dict[str, Any]] = [{"meta": {"lang": "ca"}}, {"meta": None}, {"meta": {}}]
    for without in withouts:
        [found] = faults([raw, without], columns)
        assert "no value in column 'meta.lang.iso' (field 'question') in 1 of 2 rows (2)" in found
    assert "no column 'mta.lang'" in faults([raw], {**columns, "question": "mta.lang"})[0]


def test_missing_columns_are_all_named_with_the_line_to_add() -> None:
    found = faults([{"pregunta": "a", "Sq": "b"}], {"group": "Indice"})
    assert len(found) == 3
    assert found[0] == (
        "data.k: f.csv: no column 'question' for the field 'question' (what is asked); present: "
        "pregunta, Sq; add data.columns: {question: <column>}"
    )
    assert "add data.columns: {sql: Sq}" in found[1]
    assert "'Indice'" in found[2] and "{group: <column>}" in found[2]


def test_unknown_field_offers_the_nearest() -> None:
    [found] = faults([ROW], {**MAP, "qestion": "Prompt"})
    assert found.startswith(
        "data.columns.qestion: not a field of this task; did you mean question?"
    )


def test_repeated_ids_name_both_rows() -> None:
    [found] = faults([ROW, {**ROW, "Prompt": "b"}], {**MAP, "id": "Indice"})
    assert "duplicate id '19': in both row 1 and row 2" in found


def test_empty_values_are_counted() -> None:
    rows = [ROW, {**ROW, "SQL": None}, {k: v for k, v in ROW.items() if k != "SQL"}]
    assert faults(rows, MAP) == (
        "data.k: f.csv: no value in column 'SQL' (field 'sql') in 2 of 3 rows (2, 3);"
        " fill or delete them",
    )


def test_unknown_split_names_the_row_and_what_is_known() -> None:
    [found] = faults([ROW, {**ROW, "Split": "holdout"}], MAP)
    assert "row 2: 'holdout' in column 'Split' is not a known split; known" in found
    assert "validation" in found
