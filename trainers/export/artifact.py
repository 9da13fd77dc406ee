"""artifact.json: what was exported from which checkpoint, file by file, and the gates.

    {"checkpoint": "step-000140", "metric": "execution_accuracy", "score": 0.83,
     "adapter": {"path": "export/adapter", "files": [{"path", "num_bytes", "sha256"}]},
     "merged": {..., "num_merged": 21}, "gguf": [{"path", "type", "num_bytes", "sha256"}],
     "gates": [{"part", "name", "passed", "value", "limit", "detail"}], "failed": []}

Paths are relative to the run directory. A part ("adapter", "merged", a GGUF type) that is not there
is null or absent; `failed` lists the parts whose gates failed. A fully tuned model has no adapter.
The file is written after each part, so that an export that is repeated makes only what is missing.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from datasets_src.files import sha256_file
from datasets_src.types import Score
from trainers.export.gates import Gate
from trainers.storage.json_files import read_json, write_json

ARTIFACT = "artifact.json"
CARD = "README.md"  # rewritten when a card changes; no part of the artifact
Part = dict[str, Any]


class Artifact:
    """artifact.json of one checkpoint; what an earlier export left whole is kept."""

    def __init__(
        self, run_dir: Path, best: Score, wanted: Sequence[str], *, keep_failed: bool
    ) -> None:
        self._run_dir, self._wanted = run_dir, wanted
        old = read_json(run_dir / ARTIFACT)
        of_best = old if old.get("checkpoint") == best.name and "failed" in old else {}
        dropped = () if keep_failed else of_best.get("failed", ())
        self.parts: dict[str, Part] = {
            name: part
            for name, part in _parts(of_best)
            if name in wanted and name not in dropped and _is_whole(run_dir, part)
        }
        kept = [gate for gate in of_best.get("gates", ()) if gate["part"] in self.parts]
        self._gates: dict[str, list[Mapping[str, Any]]] = {
            name: [gate for gate in kept if gate["part"] == name] for name in wanted
        }
        self._head = {
            "checkpoint": best.name,
            "metric": best.metric,
            "score": best.metrics[best.metric],
        }

    @property
    def missing(self) -> list[str]:
        """Wanted parts that are not there whole, or whose gates failed, in order."""
        return [name for name in self._wanted if name not in self.parts]

    @property
    def failed(self) -> list[str]:
        """Parts of which a gate failed."""
        return [name for name in self._wanted if not all(g["passed"] for g in self._gates[name])]

    def record(self, name: str, gates: Iterable[Gate], part: Part | None) -> None:
        """Record a part that was made, or None for one that was rejected, and its gates."""
        self._gates[name] = [{"part": name, **asdict(gate)} for gate in gates]
        if part is not None:
            self.parts[name] = part
        self.write()

    def write(self) -> None:
        """Write artifact.json."""
        write_json(self._run_dir / ARTIFACT, self.content())

    def content(self) -> dict[str, Any]:
        """What artifact.json holds."""
        ggufs = [name for name in self._wanted if name not in ("adapter", "merged")]
        return {
            **self._head,
            "adapter": self.parts.get("adapter"),
            "merged": self.parts.get("merged"),
            "gguf": [self.parts[name] for name in ggufs if name in self.parts],
            "gates": [gate for name in self._wanted for gate in self._gates[name]],
            "failed": self.failed,
        }


def describe_file(run_dir: Path, path: Path) -> Part:
    """Path, size and sha256 of one file."""
    relative = path.relative_to(run_dir).as_posix()
    return {"path": relative, "num_bytes": path.stat().st_size, "sha256": sha256_file(path)}


def describe_folder(run_dir: Path, folder: Path) -> Part:
    """Every file of a folder."""
    files = [p for p in sorted(folder.rglob("*")) if p.is_file() and p != folder / CARD]
    described = [describe_file(run_dir, path) for path in files]
    return {
        "path": folder.relative_to(run_dir).as_posix(),
        "num_bytes": sum(file["num_bytes"] for file in described),
        "files": described,
    }


def _parts(artifact: Mapping[str, Any]) -> Iterable[tuple[str, Part]]:
    for name in ("adapter", "merged"):
        if artifact.get(name) is not None:
            yield name, artifact[name]
    for part in artifact.get("gguf", ()):
        yield part["type"], part


def _is_whole(run_dir: Path, part: Part) -> bool:
    files = part.get("files", [part])
    # Sizes first: they are free, and tell most changes.
    same_size = all(
        (run_dir / file["path"]).is_file()
        and (run_dir / file["path"]).stat().st_size == file["num_bytes"]
        for file in files
    )
    return same_size and all(
        sha256_file(run_dir / file["path"]) == file["sha256"] for file in files
    )
