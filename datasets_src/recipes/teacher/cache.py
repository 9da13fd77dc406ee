"""Durable cache of service replies, keyed by the hash of the request; none is sent twice.

cache = ReplyCache(Path("datasets/.replies/demo.jsonl"))
key = request_key("teacher", {"model": "gemini-2.5-flash", "messages": [...]})
cache.get(key)                          None, or the reply
cache.put(key, "teacher", reply)        returns once the reply is on disk

An append-only JSONL file. A kill may truncate the last line: it is removed on opening, and that
request is sent again. Concurrent `put` calls share one fsync (group commit).
"""

import fcntl
import hashlib
import json
import os
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from datasets_src.errors import UserError


def request_key(service: str, request: Mapping[str, Any]) -> str:
    """sha256 of the service's name and the whole request, independent of key order."""
    text = json.dumps([service, request], sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


class ReplyCache:
    """The replies of one build; memory holds only their offsets in the file."""

    def __init__(self, path: Path) -> None:
        """Open or create the file. UserError: another process holds it."""
        path.parent.mkdir(parents=True, exist_ok=True)
        self._path = path
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(self._file)
            raise UserError(
                f"build_name: another build writes {path}; wait for it or choose another name"
            ) from None
        self._offsets: dict[str, tuple[int, int]] = {}
        self._end = self._scan()
        self._lock, self._flushing = threading.Lock(), threading.Lock()
        self._waiting: list[tuple[str, bytes]] = []
        self._num_put = self._num_durable = 0

    def __enter__(self) -> "ReplyCache":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        os.close(self._file)

    def __len__(self) -> int:
        return len(self._offsets)

    def get(self, key: str) -> Any:
        """The reply under `key`, or None."""
        offset = self._offsets.get(key)
        return None if offset is None else self._read(offset)["reply"]

    def put(self, key: str, service: str, reply: Any) -> None:
        """Store a JSON value; it is on disk when this returns."""
        record = {"key": key, "service": service, "reply": reply}
        line = json.dumps(record, ensure_ascii=False).encode("utf-8", "backslashreplace") + b"\n"
        with self._lock:
            self._waiting.append((key, line))
            self._num_put += 1
            number = self._num_put
        with self._flushing:
            if self._num_durable < number:
                self._flush()

    def replies(self, service: str) -> Iterator[Any]:
        """All stored replies of a service."""
        for offset in list(self._offsets.values()):
            record = self._read(offset)
            if record["service"] == service:
                yield record["reply"]

    def _flush(self) -> None:
        with self._lock:
            lines, self._waiting, upto = self._waiting, [], self._num_put
        data = memoryview(b"".join(line for _, line in lines))
        while data:
            data = data[os.write(self._file, data) :]
        os.fsync(self._file)
        for key, line in lines:
            self._offsets[key] = (self._end, len(line))
            self._end += len(line)
        self._num_durable = upto

    def _read(self, offset: tuple[int, int]) -> Any:
        start, length = offset
        return json.loads(os.pread(self._file, length, start))

    def _scan(self) -> int:
        """Index all complete lines, truncate an incomplete last one, and return the file's end."""
        end = 0
        with self._path.open("rb") as file:
            for line in file:
                key = _key_of(line)
                if key is None and not line.endswith(b"\n"):
                    break
                if key is not None:
                    self._offsets[key] = (end, len(line))
                end += len(line)
        os.ftruncate(self._file, end)
        return end


def _key_of(line: bytes) -> str | None:
    """The key of a line; None if it is not a complete record."""
    try:
        record = json.loads(line)
        whole = line.endswith(b"\n") and {"key", "service", "reply"} <= record.keys()
        return str(record["key"]) if whole else None
    except (ValueError, AttributeError):
        return None
