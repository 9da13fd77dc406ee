"""A run directory on a local disk that follows one on an object store.

mirror = Mirror(RemoteStorage("s3://bucket/runs/demo"), Path("/local/demo"))
mirror.pull_records(["metrics.jsonl"]); checkpoint = mirror.newest_checkpoint()         # a start
mirror.push_checkpoint(Path("/local/demo/checkpoints/step-000140.a1")) # a save
mirror.push_records(["metrics.jsonl", "ledger/"])

An object store renames nothing, so the manifest is the commit: sent last, deleted first. Who sees
it sees a whole checkpoint. Each record has one writer: a process pushes those it writes.
"""

import hashlib
import threading
from collections.abc import Iterable, Sequence
from pathlib import Path

from filelock import FileLock

from datasets_src.files import visible_files
from trainers.storage.checkpoints import NAME, damage, step_of
from trainers.storage.folders import (
    DamagedError,
    describe_files,
    file_names,
    part_directory,
    push_files,
)
from trainers.storage.manifest import MANIFEST
from trainers.storage.object_store import RemoteStorage

COMPLETE = "COMPLETE.json"  # the marker of a folder that is not a checkpoint
State = tuple[int, int]


class Mirror:
    """One process's view; several may pull into one local directory at once."""

    def __init__(self, storage: RemoteStorage, local: Path) -> None:
        self.storage, self.local = storage, local
        self._pushed: dict[str, tuple[State, str]] = {}
        self._pushing = threading.Lock()  # an older state must not overtake a newer one

    def pull_records(self, names: Sequence[str]) -> list[str]:
        """Make the local records those of the store: replaced, and deleted where it has none.

        Returns the names that the store has.
        """
        found = [name for name in self.storage.names() if _is_one(name, names)]
        with self._lock("records"):
            for name in self._local_records(names):
                if name not in found:
                    (self.local / name).unlink(missing_ok=True)
            for name in found:
                self.storage.download(name, self.local / name)
                self._pushed[name] = _state(self.local / name), _sha256(self._record(name))
        return found

    def push_records(self, names: Sequence[str]) -> list[str]:
        """Push the named records that changed since this process pulled or pushed them."""
        with self._pushing:
            return [name for name in self._local_records(names) if self._push_record(name)]

    def _push_record(self, name: str) -> bool:
        state, (known_state, known_digest) = _state(self.local / name), self._known(name)
        if state == known_state:
            return False
        data = self._record(name)
        digest = _sha256(data)
        if digest != known_digest:
            self.storage.write(name, data)
        # The state from before the reading: a line written since then is seen next time.
        self._pushed[name] = state, digest
        return digest != known_digest

    def _known(self, name: str) -> tuple[State | None, str]:
        return self._pushed.get(name, (None, ""))

    def checkpoint_names(self) -> list[str]:
        """Committed checkpoints, newest step first; of one step, in the reverse order of names."""
        names = self.storage.names("checkpoints")
        folders = [name.split("/")[1] for name in names if name.endswith(f"/{MANIFEST}")]
        return sorted(
            (n for n in folders if NAME.fullmatch(n)), reverse=True, key=lambda n: (step_of(n), n)
        )

    def push_checkpoint(self, folder: Path) -> None:
        """Push a sealed checkpoint: until its manifest is there, no reader takes it."""
        content = (folder / MANIFEST).read_bytes()
        name = f"checkpoints/{folder.name}"
        push_files(self.storage, folder, name, marker=MANIFEST, content=content)

    def pull_checkpoint(self, name: str) -> Path:
        """The local directory of a checkpoint, fetched where it is not there whole.

        Raises:
            FileNotFoundError: it is not committed, or was withdrawn meanwhile.
            DamagedError: the store does not hold what its manifest says.
        """
        folder, final = f"checkpoints/{name}", self.local / "checkpoints" / name
        with self._lock(name):
            if final.is_dir() and damage(final) is None:
                return final
            manifest = self._need(f"{folder}/{MANIFEST}")
            with part_directory(final) as part:
                reason = self._fetch(folder, manifest, part)
                # If the manifest has changed meanwhile, the writer started over: no damage.
                if reason is not None and self._need(f"{folder}/{MANIFEST}") == manifest:
                    raise DamagedError(f"{self.storage.root}/{folder}: {reason}")
                if reason is not None:
                    raise FileNotFoundError(f"{self.storage.root}/{folder}: being rewritten")
        return final

    def _fetch(self, folder: str, manifest: bytes, part: Path) -> str | None:
        """Fill `part` with a checkpoint; what is wrong with it."""
        for file in file_names(manifest):
            try:
                self.storage.download(f"{folder}/{file}", part / file)
            except FileNotFoundError:
                return f"{file} is missing"
        (part / MANIFEST).write_bytes(manifest)
        return damage(part)

    def newest_checkpoint(self) -> Path | None:
        """The newest whole checkpoint, fetched; damaged ones go to quarantine with the reason.

        For the holder of the lease: two of these at once would quarantine twice.
        """
        for name in self.checkpoint_names():
            try:
                return self.pull_checkpoint(name)
            except DamagedError as error:
                self.quarantine_checkpoint(name, str(error))
                print(f"checkpoint {name} is damaged ({error}); moved to quarantine/{name}")
            except FileNotFoundError:
                continue  # withdrawn since the listing
        return None

    def quarantine_checkpoint(self, name: str, reason: str) -> None:
        """Withdraw a checkpoint and keep its files below quarantine/ with the reason.

        The manifest goes first, so that no reader takes it half moved.
        """
        folder, shelf = f"checkpoints/{name}", f"quarantine/{name}"
        seal = self.storage.read(f"{folder}/{MANIFEST}")
        self.storage.delete(f"{folder}/{MANIFEST}")
        self.storage.write(f"{shelf}/REASON", f"{reason}\n".encode())
        if seal is not None:
            self.storage.write(f"{shelf}/{MANIFEST}", seal)
        for file in self.storage.names(folder):
            self.storage.copy(file, shelf + file.removeprefix(folder))
            self.storage.delete(file)

    def delete_checkpoint(self, name: str) -> None:
        """Delete a checkpoint from the store, the manifest first."""
        folder = f"checkpoints/{name}"
        self.storage.delete(f"{folder}/{MANIFEST}")
        for file in self.storage.names(folder):
            self.storage.delete(file)

    def delete_unfinished(self) -> list[str]:
        """Delete what killed writers left without a manifest; for the holder of the lease, before
        its workers start."""
        names = self.storage.names("checkpoints")
        whole = set(self.checkpoint_names())
        left = sorted({name.split("/")[1] for name in names} - whole)
        for name in left:
            self.delete_checkpoint(name)
        return left

    def has_folder(self, name: str) -> bool:
        """Whether a folder was pushed whole."""
        return self.storage.read(f"{name}/{COMPLETE}") is not None

    def push_folder(self, name: str) -> None:
        """Push the local folder `name` (prepared rows, an export), a marker of its files last.

        Nothing is sent where the store has the same bytes already.
        """
        folder = self.local / name
        marker = describe_files(folder)
        if self.storage.read(f"{name}/{COMPLETE}") != marker:
            push_files(self.storage, folder, name, marker=COMPLETE, content=marker)

    def pull_folder(self, name: str) -> Path:
        """The local folder `name`, fetched where it is not there.

        Raises:
            FileNotFoundError: the store has no such folder, or not whole.
            DamagedError: the store does not hold what the marker says.
        """
        final, folder = self.local / name, f"{self.storage.root}/{name}"
        with self._lock(name.replace("/", "-")):
            if final.is_dir():
                return final
            marker = self._need(f"{name}/{COMPLETE}")
            with part_directory(final) as part:
                for file in file_names(marker):
                    self.storage.download(f"{name}/{file}", part / file)
                if describe_files(part) != marker:
                    raise DamagedError(f"{folder}: not what was pushed; delete it and push again")
        return final

    def _need(self, name: str) -> bytes:
        data = self.storage.read(name)
        if data is None:
            raise FileNotFoundError(f"{self.storage.root}/{name}")
        return data

    def _lock(self, name: str) -> FileLock:
        """One puller of a thing at a time on this node; the lock dies with its process."""
        self.local.mkdir(parents=True, exist_ok=True)
        return FileLock(self.local / f".{name}.lock")

    def _local_records(self, names: Sequence[str]) -> list[str]:
        found: set[str] = set()
        for name in names:
            path = self.local / name
            if name.endswith("/"):
                found |= {f"{name}{inner}" for inner in visible_files(path)}
            elif path.is_file():
                found.add(name)
        return sorted(found)

    def _record(self, name: str) -> bytes:
        """A record's bytes; of lines that are being written, the whole ones."""
        data = (self.local / name).read_bytes()
        return data[: data.rfind(b"\n") + 1] if name.endswith(".jsonl") else data


def _is_one(name: str, names: Iterable[str]) -> bool:
    return any(name == one or (one.endswith("/") and name.startswith(one)) for one in names)


def _state(path: Path) -> State:
    status = path.stat()
    return status.st_size, status.st_mtime_ns


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
