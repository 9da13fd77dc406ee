"""Tokenised rows in Parquet: written in row order, read by index.

split = open_split(Path("runs/prepared/3f2a…"), "train")
split.tokens(7).input_ids, split.example(7).target

Columns: id, group, length, prompt_len, input_ids (list of int32) and example (JSON of the target
and of inputs that differ from the first row's, which are in the file's metadata: a schema that all
rows share is stored once).
"""

import json
import os
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from datasets_src.types import Example, TokenizedExample

SCHEMA = pa.schema(
    [
        ("id", pa.string()),
        ("group", pa.string()),
        ("length", pa.int32()),
        ("prompt_len", pa.int32()),
        ("input_ids", pa.list_(pa.int32())),
        ("example", pa.string()),
    ]
)
ROWS_PER_GROUP = 256
# Cache of decoded row groups; a data set of up to 64 M tokens stays fully in memory.
CACHE_BYTES = 256 * 2**20


def encode_example(example: Example, defaults: Mapping[str, Any]) -> tuple[str, list[str]]:
    """JSON of the target and of the inputs that differ from `defaults`; names of the latter."""
    inputs = {k: v for k, v in example.inputs.items() if not _same(v, defaults.get(k, ...))}
    absent = [k for k in defaults if k not in example.inputs]
    row = {"inputs": inputs, "absent": absent, "target": example.target}
    return json.dumps(row, ensure_ascii=False), [*inputs, *absent]


def decode_example(
    text: str, defaults: Mapping[str, Any], *, id: str, group: str, split: str | None
) -> Example:
    """The example that `encode_example` wrote."""
    row = json.loads(text)
    inputs = {k: v for k, v in defaults.items() if k not in row["absent"]} | row["inputs"]
    return Example(id=id, group=group, inputs=inputs, target=row["target"], split=split)


def _same(value: Any, default: Any) -> bool:
    # Compared as JSON, since 1 == True == 1.0 in Python; strings, the most frequent, directly.
    if isinstance(value, str) or type(value) is not type(default):
        return bool(type(value) is type(default) and value == default)
    return json.dumps(value) == json.dumps(default)


class SplitWriter:
    """Writes one Parquet file; its bytes depend on the rows, not on the sizes of the blocks."""

    def __init__(self, path: Path, defaults: Mapping[str, Any]) -> None:
        schema = SCHEMA.with_metadata({"defaults": json.dumps(defaults, ensure_ascii=False)})
        self._path = path
        self._schema = schema
        self._writer = pq.ParquetWriter(path, schema, compression="zstd")
        self._waiting: list[pa.Table] = []
        self._num_waiting = 0

    def write(self, table: pa.Table) -> None:
        """Append rows with the columns of SCHEMA."""
        self._waiting.append(table.select(SCHEMA.names).cast(SCHEMA))
        self._num_waiting += table.num_rows
        if self._num_waiting >= ROWS_PER_GROUP:
            self._flush(self._num_waiting - self._num_waiting % ROWS_PER_GROUP)

    def close(self) -> None:
        """Write the remaining rows and fsync the file."""
        if self._num_waiting:
            self._flush(self._num_waiting)
        self._writer.close()
        with self._path.open("rb") as file:
            os.fsync(file.fileno())

    def _flush(self, num_rows: int) -> None:
        table = pa.concat_tables(self._waiting)
        for start in range(0, num_rows, ROWS_PER_GROUP):
            part = table.slice(start, min(ROWS_PER_GROUP, num_rows - start)).combine_chunks()
            self._writer.write_table(part.replace_schema_metadata(self._schema.metadata))
        self._waiting = [table.slice(num_rows)]
        self._num_waiting = table.num_rows - num_rows


class Split:
    """One side of the data, memory-mapped; row groups are decoded lazily and cached.

    `ids`, `groups`: one string per row. `lengths`, `prompt_lens`: int32 [num_rows], in tokens.
    `defaults`: inputs of the first row; the column `example` holds the differences to it.
    """

    def __init__(self, path: Path, name: str) -> None:
        self.name = name
        self._file = pq.ParquetFile(path, memory_map=True)
        table = self._file.read(columns=["id", "group", "length", "prompt_len"])
        self.ids: list[str] = table["id"].to_pylist()
        self.groups: list[str] = table["group"].to_pylist()
        self.lengths: np.ndarray = table["length"].to_numpy()
        self.prompt_lens: np.ndarray = table["prompt_len"].to_numpy()
        self.defaults = json.loads(self._file.schema_arrow.metadata[b"defaults"])
        num_groups = max(1, self._file.num_row_groups)
        mean_bytes = 1 + 4 * int(self.lengths.sum()) // num_groups
        self._token_group = lru_cache(max(2, CACHE_BYTES // mean_bytes))(self._read_tokens)
        self._example_group = lru_cache(64)(self._read_examples)

    def __len__(self) -> int:
        return len(self.ids)

    def tokens(self, index: int) -> TokenizedExample:
        """Row `index` as token ids."""
        group, row = divmod(self._checked(index), ROWS_PER_GROUP)
        values, offsets = self._token_group(group)
        return TokenizedExample(
            id=self.ids[index],
            group=self.groups[index],
            input_ids=tuple(values[offsets[row] : offsets[row + 1]].tolist()),
            prompt_len=int(self.prompt_lens[index]),
        )

    def example(self, index: int) -> Example:
        """Row `index` with its inputs and target."""
        group, row = divmod(self._checked(index), ROWS_PER_GROUP)
        return decode_example(
            self._example_group(group)[row].as_py(),
            self.defaults,
            id=self.ids[index],
            group=self.groups[index],
            split=self.name,
        )

    def _checked(self, index: int) -> int:
        if not 0 <= index < len(self):
            raise IndexError(f"row {index} of {len(self)} in {self.name}")
        return index

    def _read_tokens(self, group: int) -> tuple[np.ndarray, np.ndarray]:
        column = self._file.read_row_group(group, columns=["input_ids"])["input_ids"]
        lists = column.combine_chunks()
        return lists.values.to_numpy(), lists.offsets.to_numpy()

    def _read_examples(self, group: int) -> pa.ChunkedArray:
        return self._file.read_row_group(group, columns=["example"])["example"]


def open_split(directory: Path, name: str) -> Split:
    """The "train" or "validation" side of a prepared directory."""
    assert name in ("train", "validation"), name
    return Split(directory / f"{name}.parquet", name)
