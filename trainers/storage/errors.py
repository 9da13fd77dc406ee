"""Classify the responses of an object store: retryable, denied, missing, already there.

read_fault(503, "SlowDown", {"Retry-After": "2"}) == Fault(503, "SlowDown", retry_after_s=2.0)
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from datasets_src.retry_after import retry_after_s

# Codes for credentials that are no longer valid; S3 sends them with status 400.
OLD_CREDENTIALS = ("ExpiredToken", "InvalidToken", "TokenRefreshRequired", "NoCredentials")
# Two conditional writes at the same moment: the loser is asked to retry.
BUSY = ("ConditionalRequestConflict", "OperationAborted")
TAKEN = ("BlobAlreadyExists",)
NO_BUCKET = ("NoSuchBucket", "ContainerNotFound", "ContainerBeingDeleted")


@dataclass(frozen=True)
class Fault:
    """A failed request. `status` is None without a complete response: timeout, reset, truncated
    body, unknown host."""

    status: int | None
    code: str
    retry_after_s: float = 0.0

    @property
    def is_retryable(self) -> bool:
        """Whether a retry may succeed."""
        if self.code in BUSY or self.status is None:
            return self.code not in OLD_CREDENTIALS
        return self.status in (408, 429) or self.status >= 500

    @property
    def refused(self) -> bool:
        return self.status in (401, 403) or self.code in OLD_CREDENTIALS

    @property
    def missing(self) -> bool:
        return self.status == 404 and self.code not in NO_BUCKET

    @property
    def no_bucket(self) -> bool:
        return self.status == 404 and self.code in NO_BUCKET

    @property
    def taken(self) -> bool:
        return self.status == 412 or self.code in TAKEN

    def __str__(self) -> str:
        # A response without a body, as to HEAD, has no code but its status.
        code = "" if self.code == str(self.status) else self.code
        return f"{self.status or 'no answer'} {code}".strip()


def read_fault(status: int | None, code: str, headers: Mapping[str, str]) -> Fault:
    """A fault from a response's status, error code and headers."""
    lower = {name.lower(): value for name, value in headers.items()}
    return Fault(status, code, retry_after_s(lower.get("retry-after", "")))


class ObjectStore(Protocol):
    """One provider: each method is one request without retries. Keys are relative to the bucket."""

    errors: tuple[type[Exception], ...]  # what its methods raise
    remedy: str  # which credentials it reads

    def fault(self, error: Exception) -> Fault:
        """Translate one of `errors`."""

    def page(self, prefix: str, token: str | None) -> tuple[list[str], str | None]:
        """A page of the keys that start with `prefix`, and the token of the next page."""

    def size(self, key: str) -> int:
        """Bytes of an object."""

    def get(self, key: str, start: int = 0, length: int | None = None) -> bytes:
        """An object, or `length` bytes of it from `start`."""

    def put(self, key: str, data: bytes, *, mark: str | None = None) -> None:
        """Replace an object; with a `mark`, create it only if absent and store the mark with it."""

    def mark(self, key: str) -> str | None:
        """The mark that the object was created with."""

    def delete(self, key: str) -> None:
        """Remove an object."""

    def copy(self, key: str, target: str) -> None:
        """Copy an object within the store and wait until it is complete."""

    def begin(self, key: str) -> str:
        """Start a multipart upload; returns its id."""

    def part(self, key: str, upload: str, number: int, data: bytes) -> str:
        """Send part `number`, counted from 1; returns its id for `commit`."""

    def commit(self, key: str, upload: str, parts: list[str]) -> None:
        """Assemble the object from its parts, in this order."""
