"""Validation rows whose inputs stand among the training rows too, exactly or nearly.

find_leaks(directory, sketches, varying=["question"])
{"exact": {"num_rows": 1, "pairs": [{"train": "s0450", "validation": "s0001"}]},
 "near": {"num_rows": 1, "pairs": [{"train": "s0451", "validation": "s0002", "jaccard": 0.91}]}}

Only inputs that differ between rows count: a schema or a database that all rows share says nothing,
nor does the target. Rows are exact duplicates if these inputs are equal but for case and white
space, near ones from a Jaccard similarity of MIN_JACCARD of their runs of three words on. Of each
row a sketch is kept (sketch.py); rows that it proposes are read again and compared.
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
# Where very many rows are alike: so many with one band in common are looked at for a row, and of
# all of them the likeliest are read.
MAX_OF_BAND, MAX_READ = 32, 4
Read = Callable[[str, int], bytes]  # folded inputs of a row of a side, by its place there


@dataclass(frozen=True)
class Side:
    """Rows of one side: their ids, digests [num_rows] and bands [num_rows, NUM_BANDS]."""

    ids: Sequence[str]
    digests: NDArray[np.uint64]
    bands: Hashes


def folded_inputs(example: Example, names: Sequence[str]) -> bytes:
    """Those inputs of an example as one text; one that it does not have is empty."""
    values = [example.inputs.get(name, "") for name in names]
    return fold([value if isinstance(value, str) else json.dumps(value) for value in values])


def sketch_columns(texts: Sequence[bytes]) -> dict[str, pa.Array]:
    """The columns SKETCH of rows with these folded inputs."""
    made = [sketch(text) for text in texts]
    bands = np.concatenate([bands for _, bands in made])
    return {
        "digest": pa.array([digest for digest, _ in made], pa.uint64()),
        "bands": pa.FixedSizeListArray.from_arrays(pa.array(bands, pa.uint32()), NUM_BANDS),
    }


def find_leaks(
    directory: Path, sketches: Mapping[str, Sequence[pa.Table]], *, varying: Sequence[str]
) -> dict[str, Any]:
    """Of the rows of a prepared directory, with the tables of `sketch_columns` of each side."""
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
    """How many validation rows are duplicates of a training row, and the first pairs."""
    twins = _exact(train.digests, validation.digests)
    exact = [
        {"train": train.ids[t], "validation": validation.ids[v]} for v, t in sorted(twins.items())
    ]
    near = []
    for row, candidates in _candidates(train.bands, validation.bands).items():
        if row not in twins and (best := _nearest(row, candidates, read)):
            similarity, twin = best
            pair = {"train": train.ids[twin], "validation": validation.ids[row]}
            near.append({**pair, "jaccard": round(similarity, 3)})
    return {
        kind: {"num_rows": len(pairs), "pairs": pairs[:SHOWN_PAIRS]}
        for kind, pairs in (("exact", exact), ("near", near))
    }


def _exact(train: NDArray[np.uint64], validation: NDArray[np.uint64]) -> dict[int, int]:
    """The first training row of each validation row with an equal digest."""
    values, first = np.unique(train, return_index=True)
    at = np.searchsorted(values, validation).clip(max=len(values) - 1)
    rows = np.flatnonzero(values[at] == validation)
    return dict(zip(rows.tolist(), first[at[rows]].tolist(), strict=True))


def _candidates(train: Hashes, validation: Hashes) -> dict[int, list[int]]:
    """Training rows to read for each validation row, those with most bands in common first."""
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
        row, twin = divmod(int(codes[i]), num_train)
        if len(rows_of := found.setdefault(row, [])) < MAX_READ:
            rows_of.append(twin)
    return found


def _nearest(row: int, candidates: Sequence[int], read: Read) -> tuple[float, int] | None:
    """The most similar of the candidates and how similar it is, if it is enough."""
    mine = shingles(read(VALIDATION, row))
    measured = [(jaccard(mine, shingles(read(TRAIN, twin))), -twin) for twin in candidates]
    similarity, twin = max(measured, default=(0.0, 0))
    return (similarity, -twin) if similarity >= MIN_JACCARD else None


def leak_lines(leaks: Mapping[str, Any], *, num_rows: int, split: str) -> list[str]:
    """What to tell of `find_leaks`: a line a kind, and the remedy; [] where there is none."""
    exact, near = leaks["exact"], leaks["near"]
    lines = []
    if exact["num_rows"]:
        pairs = ", ".join(f"{p['validation']} = {p['train']}" for p in exact["pairs"])
        lines.append(
            f"{exact['num_rows']:,} of {num_rows:,} validation rows have the inputs of a training "
            f"row: {pairs}{_more(exact)}"
        )
    if near["num_rows"]:
        pairs = ", ".join(
            f"{p['validation']} ~ {p['train']} ({p['jaccard']:.2f})" for p in near["pairs"]
        )
        lines.append(
            f"{near['num_rows']:,} of {num_rows:,} validation rows have nearly the inputs of a "
            f"training row (Jaccard of 3-word runs >= {MIN_JACCARD}): {pairs}{_more(near)}"
        )
    if lines:
        given = " and leave out the split column" if split == "given" else ""
        lines.append(
            "the scores may be too high; keep such rows on one side: name the column of what they "
            f"have in common, data.columns: {{group: <column>}},{given or ' or remove them'}"
        )
    return lines


def _more(found: Mapping[str, Any]) -> str:
    return ", …" if found["num_rows"] > len(found["pairs"]) else ""
