"""The weight files that a base is loaded from, and whether all of them are there. Imports no torch.

weight_files(Path("/models/mistral-7b"))     # its index's shards, or model.safetensors
check_weights(Path("/models/mistral-7b"))    # before anything is prepared

A directory may hold the weights twice (Mistral's consolidated.safetensors); only these are loaded,
counted, hashed and merged.
"""

import json
from pathlib import Path

from datasets_src.errors import UserError

MODEL_WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"
PICKLED = ("pytorch_model.bin", "pytorch_model.bin.index.json")
KEY = "model.model_name_or_path"


def weight_files(model_dir: Path) -> list[Path]:
    """The shards that the index lists, or model.safetensors; empty if there is neither."""
    if (model_dir / INDEX).is_file():
        index = json.loads((model_dir / INDEX).read_text(encoding="utf-8"))
        return [model_dir / name for name in sorted(set(index["weight_map"].values()))]
    single = model_dir / MODEL_WEIGHTS
    return [single] if single.is_file() else []


def weight_bytes(model_dir: Path) -> int:
    """Size of the weight files."""
    return sum(path.stat().st_size for path in weight_files(model_dir))


def check_weights(model_dir: Path) -> None:
    """Refuse a base whose weights are not there, or are there in two versions.

    Raises:
        UserError: names the files and the remedy.
    """
    single, index = model_dir / MODEL_WEIGHTS, model_dir / INDEX
    if single.is_file() and index.is_file():
        newer = max((single, index), key=lambda path: path.stat().st_mtime).name
        raise UserError(
            f"{KEY}: {model_dir} has both {MODEL_WEIGHTS} and {INDEX}: transformers loads the one, "
            f"llama.cpp the shards of the other; remove the stale one ({newer} is newer)"
        )
    files = weight_files(model_dir)
    if missing := [path.name for path in files if not path.is_file()]:
        raise UserError(
            f"{KEY}: {model_dir} lacks {len(missing)} of {len(files)} weight files that its index "
            f"lists ({', '.join(missing[:3])}); copy or download them again"
        )
    if files:
        return
    if any((model_dir / name).is_file() for name in PICKLED):
        raise UserError(
            f"{KEY}: {model_dir} has its weights as {PICKLED[0]} only, a pickle; save them as "
            "safetensors first: AutoModelForCausalLM.from_pretrained(DIR, dtype='auto')"
            ".save_pretrained(NEW_DIR), and copy the tokenizer's files"
        )
    raise UserError(
        f"{KEY}: {model_dir} has neither {MODEL_WEIGHTS} nor {INDEX}; give the whole directory of "
        "a Hugging Face model"
    )
