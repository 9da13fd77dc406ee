"""A built dataset on disk: Parquet files, a card and a record, written atomically.

write_dataset(Path("datasets/demo"), rows, record=record, output="target")
datasets/demo/README.md               the card: counts, licences, recipe hash, lengths
              build.json              the same, machine-readable
              data/train.parquet      for `data.train_file` of a config, or load_dataset
              data/validation.parquet if the recipe holds rows out
              data/unfilled.parquet   rows that still lack an output

A row has the fields of its task, id, group, split, and origin, sources, license, teacher and
recipe_hash. The files do not depend on the time, the machine or the number of starts.
"""

import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from datasets_src.files import fsync_path, write_atomically
from datasets_src.recipes.card import card_text
from datasets_src.recipes.contract import TEACHER, Row
from datasets_src.split import TEST, TRAIN, VALIDATION

UNFILLED = "unfilled"
ROWS_PER_GROUP = 1024
RECORD = "build.json"
Record = dict[str, Any]


def find_built(directory: Path, recipe_hash: str) -> Record | None:
    """The record of a complete dataset of this recipe; None if there is none or another."""
    try:
        record: Record = json.loads((directory / RECORD).read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return None
    whole = all((directory / "data" / f"{name}.parquet").is_file() for name in record["num_rows"])
    return record if whole and record["recipe_hash"] == recipe_hash else None


def part_of(row: Row, output: str) -> str:
    """The file of a row: `unfilled` without an output, else its split, by default train."""
    if row.fields[output] is None:
        return UNFILLED
    return row.split or TRAIN


def write_dataset(directory: Path, rows: Sequence[Row], *, record: Record, output: str) -> None:
    """Write to a temporary sibling of `directory`, then rename it over an older dataset."""
    old = directory.with_name(f".{directory.name}.old")
    shutil.rmtree(old, ignore_errors=True)
    with write_atomically(directory) as part:
        (part / "data").mkdir(parents=True)
        schema = _schema(rows)
        for name in record["num_rows"]:
            rows_here = (row for row in rows if part_of(row, output) == name)
            _write(part / "data" / f"{name}.parquet", rows_here, schema=schema, record=record)
        text = json.dumps(record, ensure_ascii=False, indent=2) + "\n"
        (part / RECORD).write_text(text, "utf-8")
        (part / "README.md").write_text(card_text(record), "utf-8")
        for path in [*part.rglob("*"), part]:
            fsync_path(path)
        if directory.exists():
            directory.rename(old)
    shutil.rmtree(old, ignore_errors=True)


def _write(path: Path, rows: Iterator[Row], *, schema: pa.Schema, record: Record) -> None:
    with pq.ParquetWriter(path, schema, compression="zstd") as writer:
        batch: list[Mapping[str, Any]] = []
        for row in rows:
            batch.append(_columns(row, record, schema))
            if len(batch) == ROWS_PER_GROUP:
                writer.write_table(pa.Table.from_pylist(batch, schema=schema))
                batch = []
        writer.write_table(pa.Table.from_pylist(batch, schema=schema))


def _columns(row: Row, record: Record, schema: pa.Schema) -> dict[str, Any]:
    fields = {
        name: value
        if value is None or isinstance(value, str) or schema.field(name).type != pa.string()
        else json.dumps(value, ensure_ascii=False)
        for name, value in row.fields.items()
    }
    return {
        **fields,
        "id": row.id,
        "group": row.group,
        "split": row.split,
        "origin": row.origin,
        "sources": list(row.sources),
        "license": row.license or record["license"],
        "teacher": record["teacher"]["model"] if row.origin == TEACHER else None,
        "recipe_hash": record["recipe_hash"],
    }


def _schema(rows: Sequence[Row]) -> pa.Schema:
    """Numeric columns where all values are numbers, else strings; lists and objects as JSON."""
    names = list(dict.fromkeys(name for row in rows for name in row.fields))
    fields = [(name, _type({type(row.fields.get(name)) for row in rows})) for name in names]
    texts = ["id", "group", "split", "origin"]
    return pa.schema(
        [
            *((name, pa.string()) for name in texts[:2]),
            *fields,
            *((name, pa.string()) for name in texts[2:]),
            ("sources", pa.list_(pa.string())),
            *((name, pa.string()) for name in ("license", "teacher", "recipe_hash")),
        ]
    )


def _type(types: set[type]) -> pa.DataType:
    types -= {type(None)}
    if types == {bool}:
        return pa.bool_()
    if types == {int}:
        return pa.int64()
    return pa.float64() if types and types <= {int, float} else pa.string()


def parts_in_order(names: set[str]) -> list[str]:
    """The names of the files, train first."""
    return [name for name in (TRAIN, VALIDATION, TEST, UNFILLED) if name in names]
