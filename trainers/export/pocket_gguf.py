"""The pocket model as a GGUF, for whoever needs a llama.cpp server and has no model.

find_gguf("pocket")           ~/.cache/gallipato/pocket-3f2a….gguf, converted once
find_gguf("models/x.gguf")    that file
"""

from pathlib import Path

from filelock import FileLock

from datasets_src.errors import UserError
from trainers.export.gguf import convert


def find_gguf(name: str) -> Path:
    """The file that `teacher.gguf_file` names. UserError: there is none."""
    if name == "pocket":
        return pocket_gguf()
    path = Path(name).expanduser()
    if not path.is_file():
        raise UserError(f"teacher.gguf_file: {path}: no such file; name a GGUF, or `pocket`")
    return path


def pocket_gguf() -> Path:
    """The pocket model in f16; the first call builds and converts it."""
    from trainers.models.pocket.model import pocket_dir

    base = pocket_dir()
    target = base.with_name(f"{base.name}.gguf")
    with FileLock(f"{target}.lock"):
        if not target.is_file():
            convert(base, target, outtype="f16")
    return target
