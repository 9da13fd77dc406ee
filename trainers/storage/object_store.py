"""A Storage below a URL of an object store: S3 and its kin, or Azure.

storage = RemoteStorage("s3://bucket/runs/demo")          # or abfs://container@account/runs/demo
storage.create("lease/000001.json", b"{}")                # True once, whoever else tries
storage.upload(Path("adapter.safetensors"), "checkpoints/step-000140.a1/adapter.safetensors")

A call is tried again on 408, 429, 5xx, timeouts, resets and cut bodies, as long as `Retry` says.
"""

import os
import random
import time
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar
from urllib.parse import urlsplit

from datasets_src.errors import UserError
from datasets_src.files import write_atomically
from trainers.storage.errors import Fault, ObjectStore

SCHEMES = ("s3", "abfs", "abfss", "az")
PART_BYTES = 32 * 2**20  # a file above it goes in parts, each tried again by itself
PARALLEL_PARTS = 4
Value = TypeVar("Value")


class RemoteError(OSError):
    """An object store did not do what was asked, however often it was tried."""


@dataclass(frozen=True)
class Retry:
    """Waits double from `first_wait_s` up to `max_wait_s`, less up to half by chance (workers that
    failed together do not come back together), until `total_s` have passed since the first try."""

    total_s: float = 120.0
    first_wait_s: float = 0.25
    max_wait_s: float = 20.0

    def wait_s(self, tries: int) -> float:
        """Backoff in seconds after `tries` failed tries."""
        full = min(self.max_wait_s, self.first_wait_s * 2 ** min(tries - 1, 20))
        return full * random.uniform(0.5, 1.0)


def is_remote(output_dir: str) -> bool:
    """Whether `output_dir` is a URL and not a directory.

    Raises:
        UserError: a URL of a kind that cannot hold a run.
    """
    scheme, found, _ = output_dir.partition("://")
    if not found:
        return False
    if scheme == "hf":
        raise UserError(
            f"output_dir: {output_dir} is on the Hub, where each write is a commit and 128 an hour "
            "are allowed; set output_dir to a directory, s3:// or abfs://, and hub.push=true to "
            "push what the run makes"
        )
    if scheme not in SCHEMES:
        raise UserError(
            f"output_dir: {scheme}:// is not known; set output_dir to a directory, "
            "s3://bucket/runs or abfs://container@account.dfs.core.windows.net/runs"
        )
    return True


class RemoteStorage:
    """Files below a URL; safe to use from several threads."""

    def __init__(self, url: str, *, retry: Retry | None = None) -> None:
        assert is_remote(url), url
        self.root = url.rstrip("/")
        self._retry = retry or Retry()
        self._store, folder = _connect(self.root)
        self._prefix = f"{folder}/" if folder else ""

    def names(self, prefix: str = "") -> list[str]:
        """All files below the folder `prefix`, sorted, as they are now: nothing is cached."""
        start = self._prefix + (f"{prefix.strip('/')}/" if prefix else "")
        found: list[str] = []
        token: str | None = None
        while True:
            after = token
            keys, token = self._call(start, lambda: self._store.page(start, after))  # noqa: B023
            found += [key.removeprefix(self._prefix) for key in keys if not key.endswith("/")]
            if token is None:
                return sorted(found)

    def read(self, name: str) -> bytes | None:
        """The bytes of a file, None where it is not there."""
        key = self._key(name)
        try:
            return self._call(name, lambda: self._store.get(key))
        except FileNotFoundError:
            return None

    def write(self, name: str, data: bytes) -> None:
        """Replace a file; a reader sees the old bytes or the new ones."""
        key = self._key(name)
        self._call(name, lambda: self._store.put(key, data))

    def create(self, name: str, data: bytes) -> bool:
        """Make a file that nobody else makes: False where the name is taken.

        The answer to a first try may be lost and the second one then find our own file: the mark
        says whose it is.
        """
        key, mark = self._key(name), uuid.uuid4().hex
        try:
            self._call(name, lambda: self._store.put(key, data, mark=mark))
        except FileExistsError:
            try:
                return self._call(name, lambda: self._store.mark(key)) == mark
            except FileNotFoundError:  # its owner deleted it meanwhile
                return False
        return True

    def delete(self, name: str) -> None:
        """Remove a file; no error where it is not there."""
        key = self._key(name)
        try:
            self._call(name, lambda: self._store.delete(key))
        except FileNotFoundError:
            return

    def copy(self, name: str, target: str) -> None:
        """Copy a file within the store."""
        keys = self._key(name), self._key(target)
        self._call(name, lambda: self._store.copy(*keys))

    def upload(self, local: Path, name: str) -> None:
        """Replace a file by a local one; above `PART_BYTES` in parts, some at a time."""
        size, key = local.stat().st_size, self._key(name)
        if size <= PART_BYTES:
            return self.write(name, local.read_bytes())
        upload = self._call(name, lambda: self._store.begin(key))

        def send(number: int) -> str:
            data = _read_at(local, (number - 1) * PART_BYTES)
            return self._call(name, lambda: self._store.part(key, upload, number, data))

        numbers = range(1, -(-size // PART_BYTES) + 1)
        parts = _in_parallel(send, numbers)
        try:
            self._call(name, lambda: self._store.commit(key, upload, parts))
        except FileNotFoundError:
            # No such upload: the answer to a first try was lost, and the object is made.
            if self._call(name, lambda: self._store.size(key)) != size:
                raise
        return None

    def download(self, name: str, local: Path) -> None:
        """Replace a local file, durably: a reader sees the old file or the whole new one.

        Raises:
            FileNotFoundError: the store has no such file.
        """
        key = self._key(name)
        size = self._call(name, lambda: self._store.size(key))
        with (
            write_atomically(local, writer=uuid.uuid4().hex) as part,
            part.open("wb") as file,
        ):

            def fetch(start: int) -> None:
                length = min(PART_BYTES, size - start)
                data = self._call(name, lambda: self._store.get(key, start, length))
                if len(data) != length:
                    raise RemoteError(f"{self.root}/{name}: changed while it was read")
                os.pwrite(file.fileno(), data, start)

            _in_parallel(fetch, range(0, size, PART_BYTES))
            os.fsync(file.fileno())

    def check(self) -> None:
        """Write, make and delete a file, as a run will: faults of access show before it starts.

        Raises:
            UserError: no right to, or a store that lets two writers make the same file.
        """
        name = f".check-{uuid.uuid4().hex}"
        made = [self.create(name, b"1"), self.create(name, b"2")]
        self.delete(name)
        if made != [True, False]:
            raise UserError(
                f"output_dir: {self.root} ignores If-None-Match, so two runs of one name could not "
                "see each other; use a store that knows conditional writes, or a directory"
            )

    def _key(self, name: str) -> str:
        assert name and not {"", ".", ".."} & set(name.split("/")), f"not a relative name: {name!r}"
        return self._prefix + name

    def _call(self, name: str, action: Callable[[], Value]) -> Value:
        """The value of `action`, tried until it succeeds, cannot succeed or the time is up."""
        started, tries = time.monotonic(), 0
        while True:
            try:
                return action()
            except self._store.errors as error:
                tries += 1
                fault = self._store.fault(error)
                if not fault.passes:
                    raise self._final(name, fault) from error
                wait_s = max(self._retry.wait_s(tries), fault.retry_after_s)
                spent_s = time.monotonic() - started
                if spent_s + wait_s > self._retry.total_s:
                    raise RemoteError(
                        f"{self._url(name)}: {fault}, {tries} tries in {spent_s:.0f} s"
                    ) from error
            time.sleep(wait_s)

    def _final(self, name: str, fault: Fault) -> Exception:
        """The exception for an error that no retry fixes."""
        url = self._url(name)
        if fault.missing:
            return FileNotFoundError(url)
        if fault.taken:
            return FileExistsError(url)
        if fault.refused:
            return UserError(f"output_dir: {url}: {fault}; {self._store.remedy}")
        if fault.no_bucket:
            return UserError(f"output_dir: {url}: {fault}; create it, or correct output_dir")
        return RemoteError(f"{url}: {fault}")

    def _url(self, name: str) -> str:
        return f"{self.root}/{name.removeprefix(self._prefix)}"


def _connect(url: str) -> tuple[ObjectStore, str]:
    """The provider of a URL, and the folder in its bucket.

    Raises:
        UserError: its package is not installed, or the URL lacks a part.
    """
    parts = urlsplit(url)
    folder = parts.path.strip("/")
    store: ObjectStore
    try:
        if parts.scheme == "s3":
            from trainers.storage.s3 import S3Store

            store = S3Store(parts.netloc)
        else:
            from trainers.storage.azure import AzureStore

            container, at, host = parts.netloc.partition("@")
            if not at or not host:
                raise UserError(
                    f"output_dir: {url} names no account; write "
                    f"abfs://{container}@account.dfs.core.windows.net/{folder}"
                )
            store = AzureStore(container, host)
    except ModuleNotFoundError as error:
        group = "s3" if parts.scheme == "s3" else "azure"
        raise UserError(
            f"output_dir: {url} needs the package {error.name}; "
            f".venv/bin/pip install -c constraints.txt --group {group}"
        ) from None
    return store, folder


def _read_at(path: Path, start: int) -> bytes:
    with path.open("rb") as file:
        file.seek(start)
        return file.read(PART_BYTES)


def _in_parallel(action: Callable[[int], Value], values: range) -> list[Value]:
    if len(values) < 2:
        return [action(value) for value in values]
    with ThreadPoolExecutor(min(PARALLEL_PARTS, len(values))) as pool:
        return list(pool.map(action, values))
