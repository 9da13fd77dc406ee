"""The store: rows round-trip unchanged, whatever the sizes of their blocks."""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from datasets_src.prepared.store import (
    SCHEMA,
    Split,
    SplitWriter,
    decode_example,
    encode_example,
)
from datasets_src.types import Example

VALUE: st.SearchStrategy[Any] = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-3, 3), st.just(1.0), st.text(max_size=3)),
    lambda inner: st.lists(inner, max_size=2),
    max_leaves=3,
)
INPUTS = st.dictionaries(st.sampled_from("abc"), VALUE)


@given(inputs=INPUTS, defaults=INPUTS, target=st.text(max_size=5))
def test_examples_come_back(inputs: dict[str, Any], defaults: dict[str, Any], target: str) -> None:
    example = Example("1", "g", inputs, target, "train")
    text, varying = encode_example(example, defaults)
    back = decode_example(text, defaults, id="1", group="g", split="train")
    # As JSON, where 1, 1.0 and true are three values.
    assert json.dumps(dict(back.inputs), sort_keys=True) == json.dumps(inputs, sort_keys=True)
    assert back.target == target
    values = [{k: json.dumps(v) for k, v in side.items()} for side in (inputs, defaults)]
    assert set(varying) == {key for key, _ in values[0].items() ^ values[1].items()}


def test_what_all_rows_share_is_stored_once() -> None:
    shared = {"schema": "CREATE TABLE rutas (km REAL)" * 100}
    text, varying = encode_example(Example("2", "g", {**shared, "question": "b"}, "t"), shared)
    assert json.loads(text) == {"inputs": {"question": "b"}, "absent": [], "target": "t"}
    assert varying == ["question"]


def table(rows: list[int]) -> pa.Table:
    columns = {
        "id": [str(i) for i in rows],
        "group": [f"g{i // 2}" for i in rows],
        "length": [i % 5 + 1 for i in rows],
        "prompt_len": [i % 5 for i in rows],
        "input_ids": [list(range(i, i + i % 5 + 1)) for i in rows],
        "example": [json.dumps({"inputs": {}, "absent": [], "target": str(i)}) for i in rows],
    }
    return pa.table(columns, schema=SCHEMA)


def write(path: Path, sizes: list[int]) -> bytes:
    writer, start = SplitWriter(path, {"schema": "s"}), 0
    for size in sizes:
        writer.write(table(list(range(start, start + size))))
        start += size
    writer.close()
    return path.read_bytes()


def test_bytes_do_not_depend_on_the_blocks(tmp_path: Path) -> None:
    whole = write(tmp_path / "a.parquet", [700])
    assert write(tmp_path / "b.parquet", [1, 255, 0, 256, 3, 185]) == whole
    assert write(tmp_path / "c.parquet", [100] * 7) == whole


def test_rows_by_index(tmp_path: Path) -> None:
    write(tmp_path / "train.parquet", [700])
    split = Split(tmp_path / "train.parquet", "train")
    assert len(split) == 700 and split.lengths[:3].tolist() == [1, 2, 3]
    for index in (0, 255, 256, 511, 512, 699, 3):
        row = split.tokens(index)
        assert row.input_ids == tuple(range(index, index + index % 5 + 1))
        assert (row.id, row.group, row.prompt_len) == (str(index), f"g{index // 2}", index % 5)
        example = split.example(index)
        assert example == Example(
            str(index), f"g{index // 2}", {"schema": "s"}, str(index), "train"
        )
    for index in (700, -1):
        with pytest.raises(IndexError, match="of 700 in train"):
            split.tokens(index)
