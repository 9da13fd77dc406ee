"""Lines of a UTF-8 file; an invalid byte is reported with its line and offset.

next(read_lines(Path("rows.jsonl"), "data.train_file"))
'{"question": "¿Cuántas rutas hay?"}\\n'
"""

from collections.abc import Iterator
from pathlib import Path

from datasets_src.errors import UserError

BOM = b"\xef\xbb\xbf"


def read_lines(path: Path, key: str) -> Iterator[str]:
    """Lines with their line ends, without the byte order mark; `key` is used in messages."""
    offset = 0
    with path.open("rb") as file:
        for number, raw in enumerate(file, start=1):
            text = raw.removeprefix(BOM) if number == 1 else raw
            yield decode(text, path, key, line=number, offset=offset + len(raw) - len(text))
            offset += len(raw)


def decode(raw: bytes, path: Path, key: str, *, line: int, offset: int) -> str:
    """Decode `raw`, which starts at this line and byte offset; a UserError if it is not UTF-8."""
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError as error:
        line += raw.count(b"\n", 0, error.start)
        kind = "utf-16" if raw[:2] in (b"\xff\xfe", b"\xfe\xff") else "latin1"
        raise UserError(
            f"{key}: {path}:{line}: not UTF-8 (byte 0x{raw[error.start]:02x} at offset "
            f"{offset + error.start}); iconv -f {kind} -t utf-8 {path.name} > new{path.suffix}"
        ) from None
