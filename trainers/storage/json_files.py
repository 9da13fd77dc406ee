"""Read and write the JSON, JSONL and text files of a run directory, the interface between verbs.

runs/demo/{config.yaml,run.json,data.json,metrics.jsonl,checkpoints.jsonl,scores.jsonl,
           predictions/,checkpoints/,export/,artifact.json,outbox/,report.html}
"""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from datasets_src.files import write_atomically


def write_text(path: Path, text: str, *, durable: bool = True) -> None:
    """Replace `path` by `text` atomically: a reader sees the old file or the new one.

    Args:
        durable: fsync before the rename, so that the file survives a power cut.
    """
    with (
        write_atomically(path, writer=str(os.getpid())) as part,
        part.open("w", encoding="utf-8") as file,
    ):
        file.write(text)
        file.flush()
        if durable:
            os.fsync(file.fileno())


def write_json(path: Path, value: Any) -> None:
    """Write one JSON value, indented, atomically."""
    write_text(path, json.dumps(value, ensure_ascii=False, indent=2) + "\n")


def read_json(path: Path) -> dict[str, Any]:
    """The JSON object in `path`; {} if there is no file yet."""
    if not path.exists():
        return {}
    value = json.loads(path.read_text(encoding="utf-8"))
    assert isinstance(value, dict), path
    return value


def append_jsonl(path: Path, row: dict[str, Any]) -> None:
    """Append one line in a single write."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(row, ensure_ascii=False) + "\n")


def write_jsonl(path: Path, rows: list[dict[str, Any]]) -> None:
    """Replace `path` by these rows, atomically."""
    write_text(path, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))


def read_jsonl(path: Path) -> Iterator[dict[str, Any]]:
    """Rows of a JSONL file; a torn last line (killed writer) is skipped."""
    if not path.exists():
        return
    for line in path.read_text(encoding="utf-8").split("\n")[:-1]:
        yield json.loads(line)
