"""Base models: unsupported families, settings and dtypes are refused early."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from datasets_src.errors import UserError
from trainers.models.load import compute_dtype
from trainers.models.resolve import attention_of

ROOT = Path(__file__).resolve().parents[3]


def model_dir(folder: Path, **config: object) -> Path:
    (folder / "config.json").write_text(json.dumps(config))
    return folder


@pytest.mark.parametrize("family", ["llama", "mistral", "qwen2", "qwen3"])
def test_families_use_tree_attention(tmp_path: Path, family: str) -> None:
    rope = {"rope_type": "llama3", "factor": 8.0}
    assert attention_of(model_dir(tmp_path, model_type=family, rope_scaling=rope)) == "tree"


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"model_type": "gemma2"}, r"family 'gemma2'.*supported: llama, mistral, qwen2, qwen3"),
        ({"model_type": "falcon", "alibi": True}, "sets alibi: True"),
        ({"model_type": "llama", "attention_dropout": 0.1}, "sets attention_dropout: 0.1"),
        ({}, "family None"),
        (
            {"model_type": "llama", "rope_scaling": {"rope_type": "dynamic", "factor": 2.0}},
            "sets rope_type: dynamic",
        ),
    ],
)
def test_settings_without_prefix_sharing_are_refused(
    tmp_path: Path, config: dict[str, object], words: str
) -> None:
    with pytest.raises(UserError, match=words):
        attention_of(model_dir(tmp_path, **config))


def test_float32_is_supported_everywhere() -> None:
    assert compute_dtype("float32") == torch.float32


@pytest.mark.skipif(
    torch.cpu._is_amx_tile_supported() or torch.cuda.is_available(),
    reason="AMX or a GPU supports bfloat16 here, which no environment variable hides",
)
def test_bfloat16_is_refused_where_it_is_emulated() -> None:
    code = (
        "from trainers.models.load import compute_dtype\n"
        "print(compute_dtype('auto'))\n"
        "compute_dtype('bfloat16')\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env=os.environ | {"ATEN_CPU_CAPABILITY": "avx2"},
        capture_output=True,
        text=True,
    )
    assert done.stdout.strip() == "torch.float32"
    assert "model.dtype: bfloat16, but this machine has no AMX" in done.stderr
    assert "set dtype=float32, or auto" in done.stderr
