"""Exact and near duplicates of training inputs among the validation rows.

find_leaks(directory, sketches, varying=["question"])
{"exact": {"num_rows": 1, "pairs": [{"train": "s0450", "validation": "s0001"}]},
 "near": {"num_rows": 1, "pairs": [{"train": "s0451", "validation": "s0002", "jaccard": 0.91}]}}

Only inputs that differ between rows are compared: not a schema or database that all rows share, and
not the target. Rows are exact duplicates if these inputs are equal up to case and white space, and
near duplicates if the Jaccard similarity of their word trigrams is at least MIN_JACCARD. A MinHash
sketch per row (sketch.py) proposes candidate pairs, which are then read again and compared.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from datasets_src.prepared.sketch import NUM_BANDS, Hashes, fold, jaccard, shingles, sketch
from datasets_src.prepared.store import open_split
from datasets_src.split import TRAIN, VALIDATION
from datasets_src.types import Example

SKETCH = ["digest", "bands"]
MIN_JACCARD = 0.8
SHOWN_PAIRS = 5
# Bounds the work on a data set of many similar rows: per validation row, at most MAX_OF_BAND
# candidates per band, of which the MAX_READ with most bands in common are compared.
MAX_OF_BAND, MAX_READ = 32, 4
Read = Callable[[str, int], bytes]  # (side, index) -> folded inputs of the row


@dataclass(frozen=True)
class Side:
    """Rows of one side: ids, digests [num_rows] and bands [num_rows, NUM_BANDS]."""

    ids: Sequence[str]
    digests: NDArray[np.uint64]
    bands: Hashes


def folded_inputs(example: Example, names: Sequence[str]) -> bytes:
    """The named inputs of an example as one folded text; missing ones are empty."""
    values = [example.inputs.get(name, "") for name in names]
    return fold([value if isinstance(value, str) else json.dumps(value) for value in values])


def sketch_columns(texts: Sequence[bytes]) -> dict[str, pa.Array]:
    """The columns SKETCH for rows with these folded inputs."""
    made = [sketch(text) for text in texts]
    bands = np.concatenate([bands for _, bands in made])
    return {
        "digest": pa.array([digest for digest, _ in made], pa.uint64()),
        "bands": pa.FixedSizeListArray.from_arrays(pa.array(bands, pa.uint32()), NUM_BANDS),
    }


def find_leaks(
    directory: Path, sketches: Mapping[str, Sequence[pa.Table]], *, varying: Sequence[str]
) -> dict[str, Any]:
    """Compare both sides of a prepared directory; see `compare_sides`.

    Args:
        directory: holds both Parquet files.
        sketches: side -> tables with the columns SKETCH, in row order.
        varying: names of the inputs to compare.
    """
    splits = {name: open_split(directory, name) for name in (TRAIN, VALIDATION)}
    train, validation = (_side(splits[name].ids, sketches[name]) for name in (TRAIN, VALIDATION))

    def read(name: str, row: int) -> bytes:
        return folded_inputs(splits[name].example(row), varying)

    return compare_sides(train, validation, read)


def _side(ids: Sequence[str], tables: Sequence[pa.Table]) -> Side:
    columns = pa.concat_tables(tables).combine_chunks()
    bands = columns["bands"].combine_chunks().flatten().to_numpy().reshape(-1, NUM_BANDS)
    return Side(ids, columns["digest"].to_numpy(), bands)


def compare_sides(train: Side, validation: Side, read: Read) -> dict[str, Any]:
    """The number of validation rows that duplicate a training row, and the first pairs."""
    same = _exact(train.digests, validation.digests)
    exact = [
        {"train": train.ids[t], "validation": validation.ids[v]} for v, t in sorted(same.items())
    ]
    near = []
    for row, candidates in _candidates(train.bands, validation.bands).items():
        if row not in same and (best := _nearest(row, candidates, read)):
            similarity, train_row = best
            pair = {"train": train.ids[train_row], "validation": validation.ids[row]}
            near.append({**pair, "jaccard": round(similarity, 3)})
    return {
        kind: {"num_rows": len(pairs), "pairs": pairs[:SHOWN_PAIRS]}
        for kind, pairs in (("exact", exact), ("near", near))
    }


def _exact(train: NDArray[np.uint64], validation: NDArray[np.uint64]) -> dict[int, int]:
    """Validation row -> first training row with the same digest."""
    values, first = np.unique(train, return_index=True)
    at = np.searchsorted(values, validation).clip(max=len(values) - 1)
    rows = np.flatnonzero(values[at] == validation)
    return dict(zip(rows.tolist(), first[at[rows]].tolist(), strict=True))


def _candidates(train: Hashes, validation: Hashes) -> dict[int, list[int]]:
    """Validation row -> training rows to compare, those with most bands in common first."""
    num_train = len(train)
    pairs = [np.empty(0, np.int64)]
    for band in range(NUM_BANDS):
        order = np.argsort(train[:, band], kind="stable")
        values = train[order, band]
        low = np.searchsorted(values, validation[:, band])
        high = np.searchsorted(values, validation[:, band], side="right")
        counts = np.minimum(high - low, MAX_OF_BAND)
        rows = np.repeat(np.arange(len(validation)), counts)
        within = np.arange(len(rows)) - np.repeat(np.cumsum(counts) - counts, counts)
        pairs.append(rows * num_train + order[low[rows] + within])
    codes, votes = np.unique(np.concatenate(pairs), return_counts=True)
    found: dict[int, list[int]] = {}
    for i in np.lexsort((codes, -votes, codes // num_train)).tolist():
        row, train_row = divmod(int(codes[i]), num_train)
        if len(candidates := found.setdefault(row, [])) < MAX_READ:
            candidates.append(train_row)
    return found


def _nearest(row: int, candidates: Sequence[int], read: Read) -> tuple[float, int] | None:
    """(similarity, training row) of the most similar candidate, if at least MIN_JACCARD."""
    own = shingles(read(VALIDATION, row))
    measured = [(jaccard(own, shingles(read(TRAIN, other))), -other) for other in candidates]
    similarity, negated_row = max(measured, default=(0.0, 0))
    return (similarity, -negated_row) if similarity >= MIN_JACCARD else None


def leak_lines(leaks: Mapping[str, Any], *, num_rows: int, split: str) -> list[str]:
    """Warnings on the result of `find_leaks`: a line per kind, then the remedy; [] if none."""
    exact, near = leaks["exact"], leaks["near"]
    lines = []
    if exact["num_rows"]:
        pairs = ", ".join(f"{p['validation']} = {p['train']}" for p in exact["pairs"])
        lines.append(
            f"{exact['num_rows']:,} of {num_rows:,} validation rows have the same inputs as a "
            f"training row: {pairs}{_more(exact)}"
        )
    if near["num_rows"]:
        pairs = ", ".join(
            f"{p['validation']} ~ {p['train']} ({p['jaccard']:.2f})" for p in near["pairs"]
        )
        lines.append(
            f"{near['num_rows']:,} of {num_rows:,} validation rows have nearly the same inputs as "
            f"a training row (word-trigram Jaccard >= {MIN_JACCARD}): {pairs}{_more(near)}"
        )
    if lines:
        given = " and leave out the split column" if split == "given" else ""
        lines.append(
            "scores may be too high (leakage); keep such rows on one side with a column that they "
            f"share, data.columns: {{group: <column>}},{given or ' or remove them'}"
        )
    return lines


def _more(found: Mapping[str, Any]) -> str:
    return ", …" if found["num_rows"] > len(found["pairs"]) else ""
