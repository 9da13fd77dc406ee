"""data.json: rows read, kept and dropped with the reason, token counts; and its summary table.

print(format_report(json.loads((directory / "data.json").read_text())))
    rows in         153
    train           132 rows, 44 groups, 101,376 tokens, 4,210 target tokens
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from datasets_src.prepared.leaks import leak_lines
from datasets_src.reading.bad_rows import BAD, shorten
from datasets_src.split import TRAIN, VALIDATION, Assignment, natural_key

NUM_BINS = 20
SHOWN = 10


@dataclass
class RowIndex:
    """What stays in memory of each example, in row order; texts do not.

    `target_codes` numbers the distinct targets by first occurrence; `repeated` holds the texts of
    targets that occur more than once.
    """

    ids: list[str] = field(default_factory=list)
    groups: list[str] = field(default_factory=list)
    given: list[str | None] = field(default_factory=list)
    target_codes: list[int] = field(default_factory=list)
    repeated: dict[int, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Lengths:
    """Token counts of all rows, int32 [num_rows]; `kept` is False for rows that are too long."""

    length: NDArray[np.int32]
    prompt_len: NDArray[np.int32]
    kept: NDArray[np.bool_]


def build_report(
    header: Mapping[str, Any],
    index: RowIndex,
    *,
    assignment: Assignment,
    lengths: Lengths,
    dropped: Mapping[str, Sequence[str]],
    bad: Sequence[Mapping[str, Any]] = (),
) -> dict[str, Any]:
    """The content of data.json.

    `longest_tokens` includes dropped rows: it is the max_length that would drop none.

    Args:
        header: the first keys.
        index: one entry per example.
        assignment: the side of each example.
        lengths: token counts of each example.
        dropped: reason -> ids of the rows dropped for it.
        bad: number of bad rows of each kind; their examples are locations in the files.
    """
    side = np.array([s or "" for s in assignment.sides])
    rows = {name: np.flatnonzero((side == name) & lengths.kept) for name in (TRAIN, VALIDATION)}
    trained = lengths.length - lengths.prompt_len
    kept = np.concatenate(list(rows.values()))
    codes, counts = np.unique(np.array(index.target_codes)[kept], return_counts=True)
    return {
        **header,
        "num_rows": {name: len(at) for name, at in rows.items()},
        "num_groups": {name: len({index.groups[i] for i in at}) for name, at in rows.items()},
        "dropped": [
            *bad,
            *(
                {"reason": reason, "num_rows": len(ids), "examples": list(ids[:SHOWN])}
                for reason, ids in dropped.items()
                if ids
            ),
        ],
        "num_tokens": {name: int(lengths.length[at].sum()) for name, at in rows.items()},
        "num_target_tokens": {name: int(trained[at].sum()) for name, at in rows.items()},
        "length_histogram": _histogram({n: lengths.length[at] for n, at in rows.items()}),
        "longest_tokens": int(lengths.length.max()),
        "straddling_groups": sorted(assignment.straddling, key=natural_key),
        "split": assignment.kind,
        "target_duplicates": _duplicates(codes, counts, index.repeated),
        "num_distinct_targets": len(codes),
    }


def _histogram(lengths: Mapping[str, NDArray[np.int32]]) -> dict[str, list[int]]:
    longest = max(int(values.max()) for values in lengths.values())
    width = longest // NUM_BINS + 1
    edges = np.arange(NUM_BINS + 1) * width
    counts = {name: np.histogram(values, edges)[0] for name, values in lengths.items()}
    return {"edges": edges.tolist(), **{name: c.tolist() for name, c in counts.items()}}


def _duplicates(
    codes: NDArray[np.int64], counts: NDArray[np.int64], texts: Mapping[int, str]
) -> list[dict[str, Any]]:
    # Most frequent first; ties by first occurrence.
    order = [i for i in np.lexsort((codes, -counts)) if counts[i] > 1][:SHOWN]
    return [{"target": texts[int(codes[i])], "num_rows": int(counts[i])} for i in order]


def format_report(report: Mapping[str, Any]) -> str:
    """A summary table of data.json for the terminal."""
    lines = [("rows in", f"{report['num_rows_in']:,}")]
    lines += [("", f"{f['num_rows']:,} of {Path(f['path']).name}") for f in report["files"]]
    for side in (TRAIN, VALIDATION):
        lines.append(
            (
                side,
                f"{report['num_rows'][side]:,} rows, {report['num_groups'][side]:,} groups, "
                f"{report['num_tokens'][side]:,} tokens, "
                f"{report['num_target_tokens'][side]:,} target tokens",
            )
        )
    lines.append(("split", report["split"]))
    for drop in report["dropped"]:
        lines.append(("dropped", f"{drop['num_rows']:,}: {drop['reason']} ({_some(drop)})"))
    lines.append(("longest", f"{report['longest_tokens']:,} of {report['max_length']:,} tokens"))
    if straddling := report["straddling_groups"]:
        listed = ", ".join(straddling[:SHOWN]) + (", …" if len(straddling) > SHOWN else "")
        lines.append(
            ("warning", f"{len(straddling)} groups are on both sides of the split: {listed}")
        )
    lines += [
        ("warning", line)
        for line in leak_lines(
            report["leaks"], num_rows=report["num_rows"][VALIDATION], split=report["split"]
        )
    ]
    lines.append(("targets", f"{report['num_distinct_targets']:,} distinct; most frequent:"))
    for same in report["target_duplicates"][:3]:
        lines.append(("", f"{same['num_rows']:,} x {shorten(same['target'])}"))
    return "\n".join(f"  {name:<12}{text}" for name, text in lines)


def _some(drop: Mapping[str, Any]) -> str:
    more = ", …" if drop["num_rows"] > len(drop["examples"]) else ""
    what = "" if drop["reason"].startswith(BAD) else "ids "
    return what + ", ".join(drop["examples"]) + more
