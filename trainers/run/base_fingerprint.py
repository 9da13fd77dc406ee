"""The base that a run was started with: the sha256 of every file of the model.

describe_base(Path("/models/salamandra-2b"), known=run.record.get("base", {}))
{"model.safetensors": {"size": 4510000000, "mtime_ns": 1718000000, "sha256": "9f86…"}, ...}

A file is reread only if its size or change time differs: 16 GB take about ten seconds.
"""

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from datasets_src.files import sha256_file
from trainers.models.weight_files import weight_files

# The tokenizer is part of the data's hash instead: prepared rows hold its ids.
THREADS = 4
Files = dict[str, dict[str, Any]]


def describe_base(model_dir: Path, *, known: Mapping[str, Mapping[str, Any]]) -> Files:
    """Size, modification time and sha256 of each file by name.

    Args:
        known: an earlier result, whose hashes are reused for unchanged files.
    """
    files = [*weight_files(model_dir), model_dir / "config.json"]
    paths = sorted(path for path in files if path.is_file())  # one that is gone has changed
    with ThreadPoolExecutor(THREADS) as pool:
        described = pool.map(lambda path: _describe(path, known.get(path.name, {})), paths)
        return dict(zip((path.name for path in paths), described, strict=True))


def changed_files(old: Mapping[str, Mapping[str, Any]], new: Files) -> list[str]:
    """Names of the files whose content differs, and of those in only one of the two."""
    return [
        name
        for name in sorted(old.keys() | new.keys())
        if old.get(name, {}).get("sha256") != new.get(name, {}).get("sha256")
    ]


def _describe(path: Path, known: Mapping[str, Any]) -> dict[str, Any]:
    stat = path.stat()
    if known.get("size") == stat.st_size and known.get("mtime_ns") == stat.st_mtime_ns:
        return dict(known)
    return {"size": stat.st_size, "mtime_ns": stat.st_mtime_ns, "sha256": sha256_file(path)}
