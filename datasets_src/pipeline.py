"""Tokenise rows into Parquet with Ray Data, in a directory named by the hash of its inputs.

prepare(config.data, model_dir=Path("/models/pocket"), output_dir=Path("runs"))
runs/prepared/3f2a…/{train.parquet,validation.parquet,data.json}

A directory is written under a hidden name and renamed when complete (prepared/staging.py).
"""

import json
import logging
import sys
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain
from pathlib import Path
from typing import Any, cast

import numpy as np
import pyarrow as pa
from tqdm import tqdm

from datasets_src.chat.pinned import pins_of
from datasets_src.chat.tokenise import (
    MIN_TRAINED,
    TextFormat,
    empty_target_test,
    open_tokenizer,
    read_format,
    tokenise,
    tokenise_probe,
)
from datasets_src.chat.word_encoder import Encode
from datasets_src.config import DataConfig
from datasets_src.errors import UserError
from datasets_src.examples import EMPTY_TARGET, LoadedExamples, load_examples
from datasets_src.prepared.data_report import Lengths, RowIndex, build_report
from datasets_src.prepared.fingerprint import data_hash
from datasets_src.prepared.leaks import SKETCH, find_leaks, folded_inputs, sketch_columns
from datasets_src.prepared.staging import check_space, find_complete, staged
from datasets_src.prepared.store import SplitWriter, decode_example
from datasets_src.reading.bad_rows import (
    FILE_NAME,
    BadRows,
    check_limit,
    check_prepared,
    record_of,
)
from datasets_src.split import TRAIN, VALIDATION, Assignment, split_rows
from datasets_src.task import load_task

SHOWN = 10
# Workers beyond this number start on demand.
MAX_WARM_WORKERS = 16
LEFT_OUT = "left out by the task"
HELD_OUT = "test rows, held out in addition to the validation rows"


@dataclass(frozen=True)
class Prepared:
    """`directory` holds train.parquet, validation.parquet, data.json and any bad_rows.jsonl."""

    directory: Path
    data_hash: str


def find_prepared(data: DataConfig, *, model_dir: Path, output_dir: Path) -> Prepared | None:
    """The prepared directory of this data, or None; does not need Ray.

    Raises:
        UserError: a file of rows is missing, empty or unreadable, the task is unknown, or the share
            of bad rows exceeds `data.max_bad_rows`.
    """
    digest = data_hash(data, model_dir=model_dir)
    if (directory := find_complete(output_dir, digest)) is None:
        return None
    check_prepared(directory, limit=data.max_bad_rows)
    return Prepared(directory, digest)


def prepare(data: DataConfig, *, model_dir: Path, output_dir: Path) -> Prepared:
    """Tokenise the rows of `data`, or return the directory of an earlier call with the same inputs.

    Ray must be initialised. Rows keep their order, and the same inputs give the same bytes.

    Raises:
        UserError: a fault in the rows, the template or the storage.
    """
    if found := find_prepared(data, model_dir=model_dir, output_dir=output_dir):
        return found
    import ray

    digest = data_hash(data, model_dir=model_dir)
    task = load_task(data.task)
    text_format = read_format(model_dir, data.template)
    shared = start_workers(text_format, data.task)
    bad = BadRows() if data.max_bad_rows else None
    is_empty = empty_target_test(text_format, task)
    loaded = load_examples(data, task, keep_block=ray.put, bad=bad, is_empty=is_empty)
    index = loaded.index
    with staged(output_dir, digest) as (part, final):
        kept = final.with_name(f"bad_rows-{final.name}.jsonl")
        if bad:
            check_limit(bad, limit=data.max_bad_rows, kept=kept)
            bad.save(part / FILE_NAME)
        if not loaded.blocks:
            raise UserError(f"data.task: {data.task} made no examples; check data.task_options")
        assignment = split_rows(
            index.groups, index.given, size=data.validation_size, seed=data.split_seed
        )
        check_space(part, loaded.num_bytes)
        blocks = tokenise_blocks(loaded, data.task, shared)
        lengths, sketches = _write_splits(
            _progress(blocks, len(index.ids)), part, loaded, assignment, data.max_length
        )
        leaks = find_leaks(part, sketches, varying=sorted(loaded.varying))
        report = _report(data, digest, loaded, assignment, lengths)
        report |= {"leaks": leaks, "pinned": pins_of(text_format.chat_template)}
        text = json.dumps(report, ensure_ascii=False, indent=2)
        (part / "data.json").write_text(text + "\n", encoding="utf-8")
    kept.unlink(missing_ok=True)  # from a try with a lower limit; `final` lists the same rows
    return Prepared(final, digest)


def start_workers(text_format: TextFormat, task: str) -> Any:
    """Warm up Ray workers while the driver reads the rows; the object ref of `text_format`."""
    import ray

    shared = ray.put(text_format)
    num_workers = min(MAX_WARM_WORKERS, int(ray.cluster_resources().get("CPU", 1)))
    for _ in range(num_workers):
        ray.remote(_warm_up).remote([shared], task)
    return shared


def tokenise_blocks(loaded: LoadedExamples, task: str, shared: Any) -> Iterator[pa.Table]:
    """Tables of tokenised rows in row order, one Ray task per block.

    `shared` is the object reference that `start_workers` returned.
    """
    import ray.data

    # Only warnings: our own bar is shown. Importing ray.data resets the levels.
    logging.getLogger("ray.data").setLevel(logging.WARNING)
    logging.getLogger("ray.data._internal.progress").setLevel(logging.ERROR)
    context = ray.data.DataContext.get_current().copy()
    context.execution_options.preserve_order = True
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    with ray.data.DataContext.current(context):
        rows = ray.data.from_arrow_refs(loaded.blocks).map_batches(
            cast(Any, tokenise_block),
            batch_size=None,
            batch_format="pyarrow",
            zero_copy_batch=True,
            fn_kwargs={
                "task": task,
                "shared": [shared],
                "defaults": loaded.defaults,
                "varying": sorted(loaded.varying),
            },
        )
        yield from rows.iter_batches(batch_size=None, batch_format="pyarrow")


def _progress(blocks: Iterator[pa.Table], num_rows: int) -> Iterator[pa.Table]:
    with tqdm(total=num_rows, unit="row", desc="prepare", disable=not sys.stderr.isatty()) as bar:
        for block in blocks:
            yield block
            bar.update(block.num_rows)


def tokenise_block(
    block: pa.Table, *, task: str, shared: list[Any], defaults: dict[str, Any], varying: list[str]
) -> pa.Table:
    """Add length, prompt_len, input_ids, fault and a sketch to a block; runs as a Ray task."""
    text_format, encode = _open_format(shared[0])
    examples = [
        decode_example(text, defaults, id=id, group=group, split=None)
        for id, group, text in zip(
            *(block[name].to_pylist() for name in ("id", "group", "example")), strict=True
        )
    ]
    rows = tokenise(text_format, encode, task=load_task(task), examples=examples)
    lengths = np.array([len(row.input_ids) for row in rows], dtype=np.int32)
    values = np.fromiter(chain.from_iterable(row.input_ids for row in rows), np.int32)
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)
    columns = {
        "length": pa.array(lengths),
        "prompt_len": pa.array([row.prompt_len for row in rows], pa.int32()),
        "input_ids": pa.ListArray.from_arrays(offsets, values),
        "fault": pa.array([row.fault for row in rows], pa.string()),
        **sketch_columns([folded_inputs(example, varying) for example in examples]),
    }
    for name, column in columns.items():
        block = block.append_column(name, column)
    return block


@lru_cache(maxsize=2)
def _open_format(ref: Any) -> tuple[TextFormat, Encode]:
    # Cached per worker process: parsing a large tokenizer takes a second.
    import ray

    text_format: TextFormat = ray.get(ref)
    return text_format, open_tokenizer(text_format)


def _warm_up(shared: list[Any], task: str) -> None:
    text_format, encode = _open_format(shared[0])
    load_task(task)
    tokenise_probe(text_format, encode)


def _write_splits(
    blocks: Iterator[pa.Table],
    part: Path,
    loaded: LoadedExamples,
    assignment: Assignment,
    limit: int,
) -> tuple[Lengths, dict[str, list[pa.Table]]]:
    """Write both Parquet files from blocks in row order; returns lengths and sketches per side."""
    num_rows, side = len(assignment.sides), np.array([s or "" for s in assignment.sides])
    length, prompt_len = np.zeros(num_rows, np.int32), np.zeros(num_rows, np.int32)
    faults: dict[str, list[str]] = {}
    sketches: dict[str, list[pa.Table]] = {TRAIN: [], VALIDATION: []}
    with (
        closing(SplitWriter(part / "train.parquet", loaded.defaults)) as train,
        closing(SplitWriter(part / "validation.parquet", loaded.defaults)) as validation,
    ):
        done = 0
        for block in blocks:
            at = slice(done, done := done + block.num_rows)
            assert np.array_equal(block["row"].to_numpy(), np.arange(num_rows)[at]), "out of order"
            length[at], prompt_len[at] = block["length"].to_numpy(), block["prompt_len"].to_numpy()
            _note_faults(block, faults)
            for writer, name in ((train, TRAIN), (validation, VALIDATION)):
                kept = block.filter(pa.array((side[at] == name) & (length[at] <= limit)))
                writer.write(kept)
                sketches[name].append(kept.select(SKETCH))
        assert done == num_rows, (done, num_rows)
    if faults:
        raise UserError(*(_explain_fault(reason, ids) for reason, ids in faults.items()))
    lengths = Lengths(length, prompt_len, kept=length <= limit)
    _refuse_empty_side(side, lengths, limit)
    return lengths, sketches


def _note_faults(block: pa.Table, faults: dict[str, list[str]]) -> None:
    trained = block["length"].to_numpy() - block["prompt_len"].to_numpy()
    reasons = block["fault"].to_pylist()
    for row in np.flatnonzero(
        (trained < MIN_TRAINED) | np.array([bool(reason) for reason in reasons])
    ):
        reason = reasons[row] or EMPTY_TARGET
        faults.setdefault(reason, []).append(block["id"][int(row)].as_py())


def _explain_fault(reason: str, ids: list[str]) -> str:
    shown = ", ".join(ids[:SHOWN]) + (", …" if len(ids) > SHOWN else "")
    remedy = "fill or delete them" if reason == EMPTY_TARGET else "set data.template=plain"
    return f"data: {len(ids)} rows cannot be used: {reason} (ids {shown}); {remedy}"


def _refuse_empty_side(side: Any, lengths: Lengths, limit: int) -> None:
    for name in (TRAIN, VALIDATION):
        here = lengths.length[side == name]
        if len(here) and here.min() > limit:
            raise UserError(
                f"data.max_length: all {len(here)} {name} rows are longer than {limit} tokens"
                f" (shortest {here.min()}, longest {here.max()});"
                f" set data.max_length={lengths.length.max()} to keep every row"
            )


def _report(
    data: DataConfig, digest: str, loaded: LoadedExamples, assignment: Assignment, lengths: Lengths
) -> dict[str, Any]:
    index: RowIndex = loaded.index
    held = [i for i, side in zip(index.ids, assignment.sides, strict=True) if side is None]
    too_long = [index.ids[i] for i in np.flatnonzero(~lengths.kept) if assignment.sides[i]]
    header = {
        "data_hash": digest,
        "task": data.task,
        "template": data.template,
        "max_length": data.max_length,
        "files": loaded.files,
        "num_rows_in": sum(file["num_rows"] for file in loaded.files),
        "bad_rows": record_of(loaded.bad),
    }
    dropped = {
        LEFT_OUT: loaded.left_out,
        HELD_OUT: held,
        f"longer than max_length={data.max_length} tokens": too_long,
    }
    bad = loaded.bad.counts() if loaded.bad else []
    return build_report(
        header, index, assignment=assignment, lengths=lengths, dropped=dropped, bad=bad
    )
