"""Pushes that wait on disk: `<run>/outbox/0001-3f2a....json`, with a directory of their files.

    enqueue(run_dir, kind="adapter", folder=adapter_dir, repo_id="me/demo", message="step-000140")
    drain(run_dir, hub=config.hub) -> [PushResult(kind="adapter", state="pushed", commit="9c1...")]

An item: {"number": 1, "id": "3f2a...", "state": "pending", "kind": "adapter", "repo_id": "me/demo",
"branch": "main", "files": [{"path", "size", "sha256", "git_oid"}], "tries": 0, "error": null, ...}
It is written before anything is sent and becomes "done" after the Hub was read back, so a process
killed anywhere leaves it to the next drain. The same content for the same branch is one item; only
the newest item of a branch is pushed, so that a late retry never puts old weights over new ones.
"""

import errno
import fcntl
import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from httpx2 import HTTPError

from datasets_src.errors import UserError
from datasets_src.files import visible_files
from trainers.config.schema import HubConfig
from trainers.hub.client import Kind, Retry, explain, hub_client, repo_type_of
from trainers.hub.commit import FileRecord, PushError, Target, push_folder
from trainers.storage.json_files import read_json, write_json, write_text

Outcome = Literal["pushed", "unchanged", "failed", "superseded"]
# A file system without hard links answers one of these; the snapshot is a copy there.
NO_LINKS = (errno.EXDEV, errno.EPERM, errno.EMLINK, errno.ENOTSUP, errno.ENOSYS, errno.EACCES)


@dataclass(frozen=True)
class OutboxItem:
    """One push. `folder` is the snapshot, relative to the run directory; times are ISO 8601 UTC."""

    number: int
    id: str
    state: Literal["pending", "done", "superseded"]
    kind: Kind
    repo_id: str
    branch: str
    message: str
    folder: str
    files: tuple[FileRecord, ...]
    enqueued_at: str
    tries: int = 0
    error: str | None = None
    commit: str | None = None
    pushed_at: str | None = None

    @property
    def name(self) -> str:
        return f"{self.number:04d}-{self.id}"


@dataclass(frozen=True)
class PushResult:
    """What became of an item: pushed (a commit was made), unchanged (the Hub had it already),
    failed (`error` says why), superseded (a newer item of the same branch goes instead)."""

    kind: Kind
    repo_id: str
    branch: str
    state: Outcome
    commit: str | None = None
    error: str | None = None

    @property
    def ok(self) -> bool:
        return self.state != "failed"

    def line(self) -> str:
        """One line for people."""
        where = f"{self.kind:10} {self.repo_id} {self.branch}"
        return f"{self.state:10} {where} {(self.commit or '')[:8]}{self.error or ''}".rstrip()


def enqueue(
    run_dir: Path,
    *,
    kind: Kind,
    folder: Path,
    repo_id: str,
    message: str,
    branch: str = "main",
    files: Sequence[str] | None = None,
    card: str | None = None,
) -> OutboxItem:
    """Put the files of `folder` (all but hidden ones, or the named ones) in the outbox.

    They are hard-linked into the outbox, so that pruning the checkpoint does not lose the push.
    `card` becomes README.md. Returns the newest item of that branch unchanged where it already
    holds the same content, pending or done.

    Raises:
        FileNotFoundError: a named file is not there.
    """
    paths = sorted(files) if files is not None else visible_files(folder)
    assert paths or card, f"{folder} has no files to push"
    part = run_dir / "outbox" / f".{os.getpid()}.part"
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    for path in paths:
        _link(folder / path, part / path)
    if card is not None:
        write_text(part / "README.md", card)
    records = tuple(_record(part, path) for path in visible_files(part))
    before = list(items(run_dir))
    item_id = _item_id(kind, repo_id, branch, records)
    same = [item for item in before if (item.repo_id, item.branch) == (repo_id, branch)]
    if same and same[-1].id == item_id:
        shutil.rmtree(part)
        return same[-1]
    number = before[-1].number + 1 if before else 1
    item = OutboxItem(
        number=number,
        id=item_id,
        state="pending",
        kind=kind,
        repo_id=repo_id,
        branch=branch,
        message=message,
        folder=f"outbox/{number:04d}-{item_id}",
        files=records,
        enqueued_at=_now(),
    )
    shutil.rmtree(run_dir / item.folder, ignore_errors=True)
    part.rename(run_dir / item.folder)
    _write(run_dir, item)
    return item


def items(run_dir: Path) -> Iterator[OutboxItem]:
    """All items, oldest first."""
    for path in sorted((run_dir / "outbox").glob("[0-9]*.json")):
        row = read_json(path)
        yield OutboxItem(**{**row, "files": tuple(FileRecord(**file) for file in row["files"])})


def drain(run_dir: Path, *, hub: HubConfig, retry: Retry | None = None) -> list[PushResult]:
    """Push every pending item, oldest first; a failed one stays pending with its error.

    A failure is in the result (`ok` is False), not raised: what comes after a push, such as the
    merge, continues. With nothing pending, neither token nor network is needed.

    Raises:
        UserError: another process drains this outbox at this moment.
    """
    if not (run_dir / "outbox").is_dir():
        return []
    results: list[PushResult] = []
    with _lock(run_dir):
        found = list(items(run_dir))
        newest = {(item.repo_id, item.branch): item.number for item in found}
        for item in found:
            if item.state != "pending":
                shutil.rmtree(run_dir / item.folder, ignore_errors=True)
            elif item.number < newest[item.repo_id, item.branch]:
                results.append(_settle(run_dir, item, "superseded"))
            else:
                results.append(_push(run_dir, item, hub=hub, retry=retry or Retry()))
    return results


def _push(run_dir: Path, item: OutboxItem, *, hub: HubConfig, retry: Retry) -> PushResult:
    target = Target(
        repo_id=item.repo_id,
        branch=item.branch,
        staging=f"outbox-{item.id}",
        private=hub.hub_private_repo,
        message=item.message,
        repo_type=repo_type_of(item.kind),
    )
    item = replace(item, tries=item.tries + 1)
    endpoint = os.environ.get("HF_ENDPOINT", "https://huggingface.co")
    try:
        api = hub_client(hub)
        commit, made = push_folder(
            api, run_dir / item.folder, item.files, target=target, retry=retry
        )
    except (HTTPError, OSError, ValueError, PushError) as error:
        # All that a network, a token, a disk or the Hub's own checks may do: kept with the item.
        reason = explain(error, endpoint)
        _write(run_dir, replace(item, error=reason))
        return PushResult(item.kind, item.repo_id, item.branch, "failed", error=reason)
    return _settle(run_dir, item, "pushed" if made else "unchanged", commit=commit)


def _settle(
    run_dir: Path, item: OutboxItem, outcome: Outcome, *, commit: str | None = None
) -> PushResult:
    """Record the end of an item, then drop its files."""
    state: Literal["done", "superseded"] = "superseded" if outcome == "superseded" else "done"
    _write(run_dir, replace(item, state=state, error=None, commit=commit, pushed_at=_now()))
    shutil.rmtree(run_dir / item.folder, ignore_errors=True)
    return PushResult(item.kind, item.repo_id, item.branch, outcome, commit=commit)


@contextmanager
def _lock(run_dir: Path) -> Iterator[None]:
    """One drain at a time; the lock dies with its process."""
    with (run_dir / "outbox" / ".lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UserError(
                f"{run_dir}: another process is pushing this run; wait until it has ended"
            ) from None
        yield


def _link(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(source.resolve(), target)
    except OSError as error:
        if error.errno not in NO_LINKS:
            raise
        shutil.copyfile(source, target)


def _record(folder: Path, path: str) -> FileRecord:
    """Both hashes in one reading, a chunk at a time."""
    size = (folder / path).stat().st_size
    sha256, git = hashlib.sha256(), hashlib.sha1(b"blob %d\0" % size)
    with (folder / path).open("rb") as file:
        while chunk := file.read(1 << 20):
            sha256.update(chunk)
            git.update(chunk)
    return FileRecord(path, size, sha256.hexdigest(), git.hexdigest())


def _item_id(kind: str, repo_id: str, branch: str, files: Sequence[FileRecord]) -> str:
    content: list[Any] = [kind, repo_id, branch, [(file.path, file.sha256) for file in files]]
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()[:16]


def _write(run_dir: Path, item: OutboxItem) -> None:
    write_json(run_dir / "outbox" / f"{item.name}.json", asdict(item))


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
