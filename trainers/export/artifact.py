"""artifact.json: what was exported from which checkpoint, file by file, and the gates it passed.

    {"checkpoint": "step-000140", "metric": "execution_accuracy", "score": 0.83,
     "adapter": {"path": "export/adapter", "files": [{"path", "num_bytes", "sha256"}]},
     "merged": {..., "num_merged": 21}, "gguf": [{"path", "type", "num_bytes", "sha256"}],
     "gates": [{"name", "passed", "value", "limit", "detail"}]}

Paths are relative to the run directory. A fully tuned model has no adapter: null.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from datasets_src.files import sha256_file
from trainers.storage.json_files import read_json

ARTIFACT = "artifact.json"
CARD = "README.md"  # rewritten when a card changes; no part of the artifact


def describe_file(run_dir: Path, path: Path) -> dict[str, Any]:
    """Path, size and sha256 of one file."""
    relative = path.relative_to(run_dir).as_posix()
    return {"path": relative, "num_bytes": path.stat().st_size, "sha256": sha256_file(path)}


def describe_folder(run_dir: Path, folder: Path) -> dict[str, Any]:
    """Every file of a flat folder."""
    files = [p for p in sorted(folder.iterdir()) if p.is_file() and p.name != CARD]
    described = [describe_file(run_dir, path) for path in files]
    return {
        "path": folder.relative_to(run_dir).as_posix(),
        "num_bytes": sum(file["num_bytes"] for file in described),
        "files": described,
    }


def still_whole(run_dir: Path, *, checkpoint: str, gguf_types: Sequence[str]) -> dict[str, Any]:
    """The artifact of `checkpoint` if it was made whole and every byte is still there, else {}."""
    artifact = read_json(run_dir / ARTIFACT)
    if artifact.get("checkpoint") != checkpoint:
        return {}
    if [file["type"] for file in artifact["gguf"]] != list(gguf_types):
        return {}
    files = list(_files(artifact))
    # Sizes first: they are free, and tell most changes.
    same_size = all(
        (run_dir / file["path"]).is_file()
        and (run_dir / file["path"]).stat().st_size == file["num_bytes"]
        for file in files
    )
    if not same_size:
        return {}
    same = all(
        describe_file(run_dir, run_dir / file["path"])["sha256"] == file["sha256"] for file in files
    )
    return artifact if same else {}


def _files(artifact: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    if artifact["adapter"] is not None:
        yield from artifact["adapter"]["files"]
    yield from artifact["merged"]["files"]
    yield from artifact["gguf"]
