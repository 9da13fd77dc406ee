"""What an object store answers and what it means: try again, ask the user, or not there.

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
    """`status` is None where no whole answer came: timeout, reset, cut body, unknown host."""

    status: int | None
    code: str
    retry_after_s: float = 0.0

    @property
    def passes(self) -> bool:
        """Whether the same call may succeed later."""
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
        # An answer without a body, as to HEAD, has no code but its status.
        code = "" if self.code == str(self.status) else self.code
        return f"{self.status or 'no answer'} {code}".strip()


def read_fault(status: int | None, code: str, headers: Mapping[str, str]) -> Fault:
    """A fault from an answer's status, error code and headers."""
    lower = {name.lower(): value for name, value in headers.items()}
    return Fault(status, code, retry_after_s(lower.get("retry-after", "")))


class ObjectStore(Protocol):
    """One provider: each method is one request, tried once. Keys are whole, below the bucket."""

    errors: tuple[type[Exception], ...]  # what its methods raise
    remedy: str  # which credentials it reads

    def fault(self, error: Exception) -> Fault:
        """What one of `errors` means."""

    def page(self, prefix: str, token: str | None) -> tuple[list[str], str | None]:
        """Some of the keys that begin with `prefix`, and the token of the next page."""

    def size(self, key: str) -> int:
        """Bytes of an object."""

    def get(self, key: str, start: int = 0, length: int | None = None) -> bytes:
        """An object, or `length` bytes of it from `start`."""

    def put(self, key: str, data: bytes, *, mark: str | None = None) -> None:
        """Replace an object; with a `mark`, make it only where there is none, and mark it so."""

    def mark(self, key: str) -> str | None:
        """The mark that the object was made with."""

    def delete(self, key: str) -> None:
        """Remove an object."""

    def copy(self, key: str, target: str) -> None:
        """Copy an object within the store, waiting until it is there."""

    def begin(self, key: str) -> str:
        """Begin an object in parts."""

    def part(self, key: str, upload: str, number: int, data: bytes) -> str:
        """Send part `number`, from 1; returns what `commit` wants to know of it."""

    def commit(self, key: str, upload: str, parts: list[str]) -> None:
        """Make the object of its parts, in this order."""
