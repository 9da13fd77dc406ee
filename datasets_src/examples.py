"""Load the config's files as blocks of examples; only an index entry per row stays in memory.

loaded = load_examples(config.data, load_task("text2sql"), keep_block=ray.put)
loaded.blocks, loaded.index.ids

A block is an Arrow table (row, id, group, example), where `example` is JSON (prepared/store.py).
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from hashlib import blake2b
from pathlib import Path
from typing import Any

import pyarrow as pa

from datasets_src.config import DataConfig, Section
from datasets_src.errors import UserError
from datasets_src.prepared.data_report import RowIndex
from datasets_src.prepared.fingerprint import data_files, file_hash
from datasets_src.prepared.store import encode_example
from datasets_src.reading.bad_rows import BadRows
from datasets_src.reading.columns import map_rows
from datasets_src.reading.readers import read_rows
from datasets_src.split import TRAIN, VALIDATION
from datasets_src.task import Task, task_options
from datasets_src.types import Example

# Large enough to amortise a Ray task's overhead (about 10 ms), small enough that a few blocks in
# flight take a few MB.
BLOCK_ROWS = 256
EMPTY, REJECTED = "empty target", "rejected by the task"
EMPTY_TARGET = "the target is empty, so only the stop token would be trained"
BLOCK_SCHEMA = pa.schema(
    [("row", pa.int64()), ("id", pa.string()), ("group", pa.string()), ("example", pa.string())]
)


@dataclass
class LoadedExamples:
    """All examples, in row order.

    `blocks` holds what `keep_block` returned for each table. `defaults` are the inputs of the first
    example, `varying` the names of inputs that differ in any other. `left_out` lists the ids that
    the task made no example of.
    """

    index: RowIndex = field(default_factory=RowIndex)
    blocks: list[Any] = field(default_factory=list)
    defaults: dict[str, Any] = field(default_factory=dict)
    varying: set[str] = field(default_factory=set)
    files: list[dict[str, Any]] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)
    num_bytes: int = 0
    bad: BadRows | None = None


def load_examples(
    data: DataConfig,
    task: Task,
    *,
    keep_block: Callable[[pa.Table], Any],
    bad: BadRows | None = None,
    is_empty: Callable[[Example], bool] | None = None,
) -> LoadedExamples:
    """Read, map and load every row of the config's files.

    Args:
        data: the config's `data` section.
        task: the task module; its `load` turns rows into examples.
        keep_block: stores an Arrow table and returns a handle to it, e.g. `ray.put`.
        bad: collects the rows to leave out; if None, the first bad row raises.
        is_empty: whether an example has no target token to train on.

    Raises:
        UserError: a fault in a file, a column, an id or a split.
    """
    options = task_options(task, data.task_options)
    loaded = LoadedExamples(bad=bad)
    block: list[tuple[int, str, str, str]] = []
    codes: dict[bytes, int] = {}
    for example in _all_examples(data, task, options, loaded, bad=bad, is_empty=is_empty):
        loaded.defaults = loaded.defaults or dict(example.inputs)
        text, varying = encode_example(example, loaded.defaults)
        loaded.varying.update(varying)
        loaded.num_bytes += len(text)
        block.append((len(loaded.index.ids), example.id, example.group, text))
        _add_to_index(loaded.index, example, codes)
        if len(block) == BLOCK_ROWS:
            loaded.blocks.append(keep_block(_to_table(block)))
            block.clear()
    # At least two blocks, so that two workers share even a small data set.
    parts = [block] if loaded.blocks else [block[: len(block) // 2], block[len(block) // 2 :]]
    loaded.blocks += [keep_block(_to_table(part)) for part in parts if part]
    return loaded


def _all_examples(
    data: DataConfig,
    task: Task,
    options: Section,
    loaded: LoadedExamples,
    *,
    bad: BadRows | None,
    is_empty: Callable[[Example], bool] | None,
) -> Iterator[Example]:
    for key, path in data_files(data):
        rows = TaskRows(mapped_rows(data, task, key, path, bad=bad))
        seen: set[str] = set()
        for example in load_rows(task, rows, options, bad=bad):
            if example.id in seen:
                raise UserError(f"{key}: {path}: the task gave id {example.id!r} to two examples")
            seen.add(example.id)
            if bad and is_empty and is_empty(example):
                bad.add(EMPTY, EMPTY_TARGET, id=example.id)
            else:
                yield _on_side(example, key, path, bool(data.validation_file))
        loaded.left_out += [id for id in rows.ids if id not in seen]
        num_rows = bad.num_file_rows if bad else len(rows.ids)
        loaded.files.append({"path": str(path), "sha256": file_hash(path), "num_rows": num_rows})


def mapped_rows(
    data: DataConfig, task: Task, key: str, path: Path, *, bad: BadRows | None
) -> Iterator[dict[str, Any]]:
    """Rows of one of the config's files, mapped to the fields of the task."""
    return map_rows(
        read_rows(path, key=key, bad=bad),
        data.columns,
        fields=task.FIELDS,
        path=path,
        key=key,
        # Default ids count from 1 in each file; the prefix keeps those of the two files distinct.
        id_prefix="validation-" if key == "data.validation_file" else "",
        bad=bad,
    )


class TaskRows:
    """Iterator of rows for `task.load`, which records the `ids` of the rows taken.

    `has_pending_row` is True while the task holds a row that has yielded no example: an exception
    raised then rejects that row.
    """

    def __init__(self, rows: Iterator[dict[str, Any]]) -> None:
        self._rows = rows
        self.ids: list[str] = []
        self.has_pending_row = False

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return self

    def __next__(self) -> dict[str, Any]:
        self.has_pending_row = False
        row = next(self._rows)
        self.ids.append(row["id"])
        self.has_pending_row = True
        return row


def load_rows(
    task: Task, rows: TaskRows, options: Section, *, bad: BadRows | None
) -> Iterator[Example]:
    """Examples that `task.load` makes of the rows.

    With `bad`, a row that the task rejects is added to it and `load` restarts after that row.

    Raises:
        ValueError: the task raised without a pending row, or `bad` is None.
    """
    while True:
        try:
            for example in task.load(rows, options):
                rows.has_pending_row = False
                yield example
            return
        except ValueError as error:
            if bad is None or not rows.has_pending_row:
                raise
            rows.has_pending_row = False
            id = rows.ids.pop()
            what = (
                (str(error) or type(error).__name__)
                .removeprefix("data.train_file: ")
                .removeprefix(f"row {id}: ")
            )
            bad.add(REJECTED, what, id=id)


def _on_side(example: Example, key: str, path: Path, two_files: bool) -> Example:
    """With a validation file, the file determines the side; a contrary split column is a fault."""
    if not two_files:
        return example
    side = TRAIN if key == "data.train_file" else VALIDATION
    given = example.split
    if given is not None and (given == TRAIN) != (side == TRAIN):
        raise UserError(
            f"{key}: {path}: id {example.id!r} has split {given!r}, but this is the {side} file;"
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
