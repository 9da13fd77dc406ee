"""The checkpoint store against a simple model: any order of saves, kills, prunes and damage.

A kill is real: the operation runs in a child process that ends at its n-th touch of the file
system, wherever that is.
"""

import os
import shutil
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from trainers.storage.checkpoints import (
    damage,
    list_checkpoints,
    newest_valid,
    prune,
    save_checkpoint,
    step_name,
    sweep,
)
from trainers.storage.manifest import MANIFEST

Key = tuple[int, str]  # step, attempt
Bytes = dict[str, bytes]  # by file name
KILLED = 9
HALF = "test.half_written"

keys = st.tuples(st.integers(1, 7), st.sampled_from("ab"))
# None: the operation is not killed.
touches = st.none() | st.integers(0, 15) | st.integers(0, 60)


def run(operation: Callable[[], object], touches_left: int | None) -> None:
    """Run to the end, or in a process that is killed after this many file system operations."""
    if touches_left is None:
        operation()
        return
    child = os.fork()
    if child == 0:
        left = [touches_left]

        def touch(event: str, _: object) -> None:
            if event.startswith(("open", "os.", "shutil.", HALF)):
                left[0] -= 1
                if left[0] < 0:
                    os._exit(KILLED)  # as by SIGKILL: nothing is caught, flushed or cleaned up

        try:
            sys.addaudithook(touch)
            operation()
            os._exit(0)
        finally:
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) in (0, KILLED)


def content(key: Key) -> Bytes:
    step, attempt = key
    return {"weights.bin": f"{step}{attempt}".encode() * 20, "state.json": b"{}" * step}


def read_all(folder: Path) -> Bytes:
    """The files without REASON."""
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.name != "REASON"}


class Store(RuleBasedStateMachine):
    """The expected store: complete, damaged and quarantined checkpoints."""

    def __init__(self) -> None:
        super().__init__()
        self.root = Path(tempfile.mkdtemp())
        self.store = self.root / "checkpoints"
        self.whole: set[Key] = set()
        self.damaged: dict[Key, Bytes] = {}
        self.shelved: list[Bytes] = []

    def teardown(self) -> None:
        shutil.rmtree(self.root)

    def path(self, key: Key) -> Path:
        return self.store / f"{step_name(key[0])}.{key[1]}"

    def listed(self) -> set[Key]:
        return {(c.step, c.attempt) for c in list_checkpoints(self.store)}

    def shelves(self) -> list[Path]:
        folder = self.root / "quarantine"
        return list(folder.iterdir()) if folder.is_dir() else []

    def note_shelved(self) -> set[Key]:
        """Damaged checkpoints that are in quarantine by now and no longer in the store."""
        on_shelves = [read_all(shelf) for shelf in self.shelves()]
        moved = set()
        for key, files in list(self.damaged.items()):
            if on_shelves.count(files) > self.shelved.count(files):
                self.shelved.append(self.damaged.pop(key))
                moved.add(key)
        return moved

    @initialize(first=st.sets(keys, min_size=2, max_size=6))
    def begin(self, first: set[Key]) -> None:
        for key in sorted(first):
            self.save(key=key, killed=None)

    @rule(key=keys, killed=touches)
    def save(self, key: Key, killed: int | None) -> None:
        def write(folder: Path) -> None:
            for name, data in content(key).items():
                with (folder / name).open("wb", buffering=0) as file:
                    file.write(data[: len(data) // 2])
                    sys.audit(HALF)
                    file.write(data[len(data) // 2 :])

        run(
            lambda: save_checkpoint(self.store, step=key[0], attempt=key[1], write=write),
            killed,
        )
        self.note_shelved()
        if key not in self.damaged and key in self.listed():
            self.whole.add(key)
        assert killed is not None or key in self.whole

    @rule(keep=st.integers(1, 3), best=st.integers(1, 7), killed=touches)
    def prune(self, keep: int, best: int, killed: int | None) -> None:
        steps = sorted({step for step, _ in self.whole}, reverse=True)
        oldest = dict(enumerate(steps)).get(max(keep, 2) - 1, 0)
        doomed = {k for k in self.whole | self.damaged.keys() if k[0] < oldest and k[0] != best}
        run(lambda: prune(self.store, keep=keep, also=[best]), killed)
        deleted = (self.whole | self.damaged.keys()) - self.listed()
        assert deleted == doomed or (killed is not None and deleted < doomed)
        self.whole -= deleted
        self.damaged = {k: v for k, v in self.damaged.items() if k not in deleted}

    @rule(killed=touches)
    def resume(self, killed: int | None) -> None:
        found = []
        run(lambda: found.append(newest_valid(self.store)), killed)
        moved = self.note_shelved()
        newest = max((step for step, _ in self.whole), default=0)
        assert all(step >= newest for step, _ in moved)
        if killed is None:
            assert (found[0].step if found[0] else 0) == newest
            assert all(step <= newest for step, _ in self.damaged)

    @rule(killed=touches)
    def sweep(self, killed: int | None) -> None:
        run(lambda: sweep(self.store), killed)
        if killed is None and self.store.is_dir():
            assert not [name for name in os.listdir(self.store) if name.startswith(".")]

    @precondition(lambda self: self.whole)
    @rule(
        data=st.data(),
        kind=st.sampled_from(["flip", "insert", "cut", "empty", "delete", "add", "shape"]),
        name=st.sampled_from([*content((1, "a")), MANIFEST]),
        where=st.floats(0, 0.9999),
    )
    def corrupt(self, data: st.DataObject, kind: str, name: str, where: float) -> None:
        key = data.draw(st.sampled_from(sorted(self.whole)))
        file = self.path(key) / name
        bytes_, at = bytearray(file.read_bytes()), int(where * file.stat().st_size)
        if kind == "flip":
            bytes_[at] ^= 1
        elif kind == "insert":
            bytes_.insert(at, 0)
        elif kind == "cut":
            del bytes_[at:]
        elif kind == "empty":
            bytes_.clear()
        elif kind == "shape":
            file, bytes_ = file.with_name(MANIFEST), bytearray(b'{"files": {}}')
        elif kind == "add":
            file = file.with_name("added.bin")
        file.write_bytes(bytes_)
        if kind == "delete":
            file.unlink()
        self.whole.remove(key)
        self.damaged[key] = read_all(self.path(key))

    @precondition(lambda self: len(self.whole) > 1)
    @rule(data=st.data())
    def swap_manifests(self, data: st.DataObject) -> None:
        two = data.draw(st.permutations(sorted(self.whole)))[:2]
        manifests = [self.path(key) / MANIFEST for key in two]
        texts = [manifest.read_bytes() for manifest in manifests]
        for key, manifest, text in zip(two, manifests, reversed(texts), strict=True):
            manifest.write_bytes(text)
            self.whole.remove(key)
            self.damaged[key] = read_all(self.path(key))

    @invariant()
    def listed_ones_are_valid_unless_they_were_damaged(self) -> None:
        assert self.listed() == self.whole | self.damaged.keys()
        for key in self.whole:
            assert damage(self.path(key)) is None
            assert {n: b for n, b in read_all(self.path(key)).items() if n != MANIFEST} == content(
                key
            )
        for key in self.damaged:
            assert damage(self.path(key)) is not None

    @invariant()
    def quarantine_keeps_every_byte_and_the_reason(self) -> None:
        shelves = self.shelves()
        assert all((shelf / "REASON").read_text() for shelf in shelves)
        on_shelves = [sorted(read_all(shelf).items()) for shelf in shelves]
        assert sorted(on_shelves) == sorted(sorted(files.items()) for files in self.shelved)


TestStore = Store.TestCase
TestStore.settings = settings(max_examples=40, stateful_step_count=25, deadline=None)
