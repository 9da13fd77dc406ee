"""What changed between the start of a run and its resumption: settings, data, base.

check_unchanged(run_dir, record, config, data_hash=..., data_parts=..., base=...)
error: run_name: runs/demo was started with other inputs (data: task module
datasets_src.tasks.text_to_sql changed); choose another run_name, or restore them (check out the
version that started it) to resume; nothing was changed

Resuming with other inputs would mix two runs in one directory.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from datasets_src.errors import UserError
from datasets_src.files import sha256_file
from trainers.config.schema import Config
from trainers.run.base_fingerprint import Files, changed_files
from trainers.storage.json_files import read_json

# Sections and keys that may change between attempts: they do not change the result.
FREE = (
    *("scaling", "hub", "export", "output_dir"),
    *("eval.eval_batch_size", "eval.num_eval_workers", "data.max_bad_rows"),
)


def check_unchanged(
    run_dir: Path,
    record: Mapping[str, Any],
    config: Config,
    *,
    data_hash: str,
    data_parts: Mapping[str, str],
    base: Files,
) -> None:
    """Refuse to resume a run with other settings, other data or another base.

    Args:
        record: run.json as it was written last.
        data_parts: see `part_digests` (datasets_src/prepared/fingerprint.py); {} if not known.

    Raises:
        UserError: names everything that changed, with both remedies.
    """
    path = run_dir / "config.yaml"
    if not path.exists():
        return
    old = settings_that_count(yaml.safe_load(path.read_text(encoding="utf-8")))
    new = settings_that_count(config.model_dump(mode="json"))
    # A run of an earlier version lacks later keys: it was made with what is their default.
    least = Config.model_validate({"run_name": "x", "data": {"train_file": "x"}})
    defaults = settings_that_count(least.model_dump(mode="json"))
    old |= {key: defaults[key] for key in new.keys() & defaults.keys() if key not in old}
    changes = [
        f"{key}: {old.get(key)!r} -> {new.get(key)!r}"
        for key in sorted(old.keys() | new.keys())
        if old.get(key) != new.get(key)
    ]
    if record.get("data_hash", data_hash) != data_hash and not changes:
        changes.append(f"data: {_changed_data(run_dir, record, config, data_parts)}")
    if others := changed_files(record.get("base", base), base):
        changes.append(f"base: {', '.join(others)} changed")
    if changes:
        raise UserError(
            f"run_name: {run_dir} was started with other inputs ({'; '.join(changes)}); choose "
            "another run_name, or restore them (check out the version that started it) to resume; "
            "nothing was changed"
        )


def settings_that_count(config: Mapping[str, Any]) -> dict[str, Any]:
    """Dotted keys of a config as JSON values, without those that do not change the result."""
    return {key: value for key, value in _flat(config).items() if not key.startswith(FREE)}


def _flat(value: Any, prefix: str = "") -> dict[str, Any]:
    """Nested mappings as {"train.learning_rate": 1e-4}."""
    if not isinstance(value, dict) or not value:
        return {prefix.rstrip("."): value}
    return {
        k: v for name, part in value.items() for k, v in _flat(part, f"{prefix}{name}.").items()
    }


def _changed_data(
    run_dir: Path, record: Mapping[str, Any], config: Config, data_parts: Mapping[str, str]
) -> str:
    """Which part of the data changed, as exactly as the run's records tell."""
    known: dict[str, str] = record.get("data_parts") or {}
    differing = [name for name, digest in data_parts.items() if known.get(name) != digest]
    if known and differing:
        return f"{', '.join(differing)} changed"
    # A run of an earlier version recorded the hashes of its data files and nothing else.
    report = read_json(run_dir / "data.json")
    hashes = {Path(file["path"]): file["sha256"] for file in report.get("files", ())}
    changed = [path for path, sha256 in hashes.items() if _differs(path, sha256)]
    if changed:
        return f"{', '.join(map(str, changed))} changed"
    return (
        f"the task module {config.data.task}, a file of data.task_options, the tokenizer or the "
        f"preparation code changed{'; the data files did not' if hashes else ', or a data file'}"
    )


def _differs(path: Path, sha256: str) -> bool:
    return path.is_file() and sha256_file(path) != sha256
