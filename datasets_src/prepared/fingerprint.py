"""Hash everything that a prepared directory depends on: same input bytes, same name.

data_hash(config.data, model_dir=Path("/models/salamandra-2b")) -> "3f2a…" (64 hex digits)
"""

import hashlib
import json
from collections.abc import Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from datasets_src.config import DataConfig
from datasets_src.files import sha256_file
from datasets_src.reading.readers import check_file, find_reader, split_sheet
from datasets_src.task import Task, load_task, task_options

# Increment when this package produces different rows from the same input.
CODE_VERSION = 2
TOKENIZER_FILES = (
    *("tokenizer*", "chat_template*", "added_tokens.json", "special_tokens_map.json"),
    *("vocab*", "merges.txt", "*.model", "*.tiktoken", "additional_chat_templates/*"),
)
# Keys that do not affect the prepared rows: files are hashed by content, and any limit of bad rows
# that is not exceeded keeps the same rows.
NOT_IN_ROWS = {"train_file", "validation_file", "max_bad_rows"}


def data_hash(data: DataConfig, *, model_dir: Path) -> str:
    """sha256 of the files, the config, the tokenizer, the task's code and CODE_VERSION.

    A file of rows counts by content and extension, not by path. A file named in task_options counts
    by path too: a row may hold the path for scoring.

    Raises:
        UserError: a file is missing, empty, unreadable or has an unknown extension, or the
            task_options are invalid.
    """
    return _digest(_hashed_parts(data, model_dir))


def part_digests(data: DataConfig, *, model_dir: Path) -> dict[str, str]:
    """A digest for each part of `data_hash` outside the config, by the name that a message shows.

    Raises:
        UserError: as `data_hash`.
    """
    parts = _hashed_parts(data, model_dir)
    code_version, module_hash = parts["code"]
    named = {
        f"task module {load_task(data.task).__name__}": module_hash,
        "preparation code": code_version,
        "data files": parts["files"],
        "files of data.task_options": parts["options"],
        "tokenizer": parts["tokenizer"],
    }
    return {name: _digest(part)[:16] for name, part in named.items()}


def _hashed_parts(data: DataConfig, model_dir: Path) -> dict[str, Any]:
    task = load_task(data.task)
    options = task_options(task, data.task_options)
    return {
        "code": [CODE_VERSION, _module_hash(task)],
        "config": data.model_dump(mode="json", exclude=NOT_IN_ROWS),
        "files": [[key, path.suffix, file_hash(path)] for key, path in data_files(data)],
        "options": [[str(path), file_hash(path)] for path in option_files(dict(options))],
        "tokenizer": [
            [str(path.relative_to(model_dir)), file_hash(path)]
            for path in _tokenizer_files(model_dir)
        ],
    }


def _digest(part: Any) -> str:
    return hashlib.sha256(json.dumps(part, sort_keys=True).encode()).hexdigest()


def data_files(data: DataConfig) -> list[tuple[str, Path]]:
    """(config key, path) of the files of rows, each checked to exist and be readable."""
    named = [("data.train_file", data.train_file), ("data.validation_file", data.validation_file)]
    files = [(key, Path(name).expanduser()) for key, name in named if name is not None]
    for key, path in files:
        find_reader(path, key)
        check_file(path, key)
    return files


def file_hash(path: Path) -> str:
    """sha256 of a file's bytes, hex; read again only where size or time of change differ."""
    path, _ = split_sheet(path)
    stat = path.stat()
    return _file_hash(path.resolve(), stat.st_size, stat.st_mtime_ns)


@lru_cache(maxsize=64)
def _file_hash(path: Path, size: int, mtime_ns: int) -> str:
    return sha256_file(path)


def _module_hash(task: Task) -> str:
    assert task.__file__ is not None
    return file_hash(Path(task.__file__))


def option_files(value: Any) -> Iterator[Path]:
    """Files named in the task options, e.g. a database whose schema is part of the prompt."""
    if isinstance(value, Mapping):
        for name in sorted(value):
            yield from option_files(value[name])
    elif isinstance(value, list | tuple):
        for item in value:
            yield from option_files(item)
    # Longer text cannot be a path, and the system call would fail.
    elif isinstance(value, str | Path) and 0 < len(str(value)) < 1024:
        path, _ = split_sheet(Path(value).expanduser().resolve())
        if path.is_file():
            yield path
        elif path.is_dir():
            yield from sorted(p for p in path.iterdir() if p.is_file())


def _tokenizer_files(model_dir: Path) -> list[Path]:
    found = {path for pattern in TOKENIZER_FILES for path in model_dir.glob(pattern)}
    return sorted(path for path in found if path.is_file())
