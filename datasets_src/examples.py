"""Raw files to blocks of examples, ready to be tokenised; of each row only an index entry stays.

A block is an Arrow table (row, id, group, example); `example` is the JSON of store.py.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from hashlib import blake2b
from pathlib import Path
from types import ModuleType
from typing import Any

import pyarrow as pa

from datasets_src.columns import map_rows
from datasets_src.config import DataConfig, Section
from datasets_src.data_report import RowIndex
from datasets_src.errors import UserError
from datasets_src.fingerprint import data_files, file_hash
from datasets_src.readers import read_rows
from datasets_src.split import TRAIN, VALIDATION
from datasets_src.store import encode_example
from datasets_src.task import task_options
from datasets_src.types import Example

# Large enough that a Ray task (about 10 ms of overhead) is small beside its work, small enough
# that a few blocks in flight are a few MB.
BLOCK_ROWS = 256
BLOCK_SCHEMA = pa.schema(
    [("row", pa.int64()), ("id", pa.string()), ("group", pa.string()), ("example", pa.string())]
)


@dataclass
class Loaded:
    """All examples: `blocks` is what `keep_block` made of each table, in the order of the rows.

    `defaults` are the inputs of the first example; `left_out` the ids the task gave no example of.
    """

    index: RowIndex = field(default_factory=RowIndex)
    blocks: list[Any] = field(default_factory=list)
    defaults: dict[str, Any] = field(default_factory=dict)
    files: list[dict[str, Any]] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)
    num_bytes: int = 0


def load_examples(
    data: DataConfig, task: ModuleType, *, keep_block: Callable[[pa.Table], Any]
) -> Loaded:
    """Read, map and load every row of the config's files.

    Raises:
        UserError: whatever is wrong with a file, a column, an id or a split.
    """
    options = task_options(task, data.task_options)
    loaded = Loaded()
    block: list[tuple[int, str, str, str]] = []
    codes: dict[bytes, int] = {}
    for example in _all_examples(data, task, options, loaded):
        loaded.defaults = loaded.defaults or dict(example.inputs)
        text = encode_example(example, loaded.defaults)
        loaded.num_bytes += len(text)
        block.append((len(loaded.index.ids), example.id, example.group, text))
        _add_to_index(loaded.index, example, codes)
        if len(block) == BLOCK_ROWS:
            loaded.blocks.append(keep_block(_to_table(block)))
            block.clear()
    # Two blocks at least, so that two workers share even a small set.
    parts = [block] if loaded.blocks else [block[: len(block) // 2], block[len(block) // 2 :]]
    loaded.blocks += [keep_block(_to_table(part)) for part in parts if part]
    if not loaded.blocks:
        raise UserError(f"data.task: {data.task} made no example of any row; see its task_options")
    return loaded


def _all_examples(
    data: DataConfig, task: ModuleType, options: Section, loaded: Loaded
) -> Iterator[Example]:
    for key, path in data_files(data):
        # Ids count from 1 in each file; those of the second must differ from those of the first.
        prefix = "validation-" if key == "data.validation_file" else ""
        raw_ids: list[str] = []
        mapped = map_rows(
            read_rows(path, key=key),
            data.columns,
            fields=task.FIELDS,
            path=path,
            key=key,
            id_prefix=prefix,
        )
        seen: set[str] = set()
        for example in task.load(_noting_ids(mapped, raw_ids), options):
            if example.id in seen:
                raise UserError(f"{key}: {path}: the task gave id {example.id!r} to two examples")
            seen.add(example.id)
            yield _on_side(example, key, path, bool(data.validation_file))
        if len(seen) < len(raw_ids):
            loaded.left_out += [id for id in raw_ids if id not in seen]
        loaded.files.append(
            {"path": str(path), "sha256": file_hash(path), "num_rows": len(raw_ids)}
        )


def _noting_ids(rows: Iterator[dict[str, Any]], ids: list[str]) -> Iterator[dict[str, Any]]:
    for row in rows:
        ids.append(row["id"])
        yield row


def _on_side(example: Example, key: str, path: Path, two_files: bool) -> Example:
    """With a validation file the file decides; a row that says otherwise is a fault."""
    if not two_files:
        return example
    side = TRAIN if key == "data.train_file" else VALIDATION
    given = example.split
    if given is not None and (given == TRAIN) != (side == TRAIN):
        raise UserError(
            f"{key}: {path}: id {example.id!r} says split {given!r}, but this is the {side} file;"
            " remove the split column, or data.validation_file"
        )
    return replace(example, split=side)


def _add_to_index(index: RowIndex, example: Example, codes: dict[bytes, int]) -> None:
    index.ids.append(example.id)
    index.groups.append(example.group)
    index.given.append(example.split)
    digest = blake2b(example.target.encode(), digest_size=16).digest()
    if digest in codes:
        index.repeated.setdefault(codes[digest], example.target)
    index.target_codes.append(codes.setdefault(digest, len(codes)))


def _to_table(block: list[tuple[int, str, str, str]]) -> pa.Table:
    columns = list(zip(*block, strict=True))
    return pa.table([list(column) for column in columns], schema=BLOCK_SCHEMA)
