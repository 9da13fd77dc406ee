"""How a lease is won, kept and lost: plain steps over a storage, without threads or real time.

claim = contend(storage, LeaseTimes(), Surroundings())   # or UserError: somebody writes there
claim.beat()                                             # None, or why it is lost
claim.release()

The owner is the highest number. Numbers are only ever taken by exclusive creation, so of any number
of contenders one wins, and no clock is compared with another host's: a contender watches the
owner's file change on its own clock. The highest file is never removed, so a number names one
owner for good; the one before it stays too, so that no listing meanwhile finds the folder empty.
"""

import threading
import time
import uuid
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace

from datasets_src.errors import UserError
from trainers.lease.record import (
    FOLDER,
    LeaseRecord,
    Process,
    decode,
    file_name,
    is_gone,
    lease_numbers,
    on_same_machine,
    this_process,
)
from trainers.process.machine import utc_now
from trainers.storage.local import Storage


@dataclass(frozen=True)
class LeaseTimes:
    """Seconds between heartbeats, and of silence after which an owner elsewhere counts as dead."""

    beat_every_s: float = 1.0
    dead_after_s: float = 4.0

    def __post_init__(self) -> None:
        assert 0 < 2 * self.beat_every_s <= self.dead_after_s, self

    @property
    def look_every_s(self) -> float:
        """Between two looks of a contender."""
        return self.beat_every_s / 4


def seconds() -> float:
    """A clock that includes the time the machine sleeps, where the platform has one."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


@dataclass(frozen=True)
class Surroundings:
    """What a contender asks of its machine; tests put a simulated one in its place."""

    process: Process = field(default_factory=this_process)
    now: Callable[[], float] = seconds
    sleep: Callable[[float], None] = time.sleep
    is_gone: Callable[[Process, Process], bool] = is_gone


@dataclass(frozen=True)
class Sight:
    """What a contender saw of the highest lease file; number 0 where there is none."""

    number: int
    data: bytes | None


class Watch:
    """What to do about a sight, given the sights before it."""

    def __init__(self, root: str, times: LeaseTimes, around: Surroundings) -> None:
        self._root, self._times, self._around = root, times, around
        self._first: tuple[Sight, float] | None = None
        self._looked_at = around.now()

    def may_take(self, sight: Sight) -> bool:
        """True: take the next number. False: look again.

        Raises:
            UserError: the owner is alive.
        """
        now, looked_at = self._around.now(), self._looked_at
        first, since = self._first = self._first or (sight, now)
        self._looked_at = now
        owner = decode(sight.data)
        if sight.number == 0 or (owner is not None and owner.released):
            return True
        if owner is not None and self._around.is_gone(owner.process, self._around.process):
            return True
        if sight != first:
            # A heartbeat, or a new owner: either way somebody lived while we watched.
            raise UserError(self._beating(owner, now - looked_at))
        if now - since < self._times.dead_after_s:
            return False
        if owner is not None and on_same_machine(owner.process, self._around.process):
            raise UserError(self._silent(owner, now - since))
        return True

    def _beating(self, owner: LeaseRecord | None, age_s: float) -> str:
        who = _since(owner) if owner else "a process whose lease file cannot be read"
        return (
            f"run_name: {self._root} is being written by {who}, last heartbeat {age_s:.1f} s ago; "
            "wait for it, stop it, or choose another run_name"
        )

    def _silent(self, owner: LeaseRecord, age_s: float) -> str:
        return (
            f"run_name: {self._root} is held by {_since(owner)}, which is alive but suspended or "
            f"stuck: no heartbeat for {age_s:.1f} s; resume it, end it (kill -9 {owner.pid}), "
            "or choose another run_name"
        )


def _since(owner: LeaseRecord) -> str:
    return (
        f"process {owner.pid} on {owner.host} since {owner.taken_at} (for {owner.held_s():.0f} s)"
    )


def contend(storage: Storage, times: LeaseTimes, around: Surroundings) -> "Claim":
    """Take the lease, waiting at most `dead_after_s` for a sign of life of its owner.

    Raises:
        UserError: the owner is alive.
    """
    watch, nonce = Watch(storage.root, times, around), uuid.uuid4().hex
    while True:
        sight = _look(storage)
        if not watch.may_take(sight):
            around.sleep(times.look_every_s)
            continue
        began = around.now()
        if record := _create(storage, sight.number + 1, nonce, around.process):
            return Claim(storage, record, times, around.now, began)
        around.sleep(times.look_every_s)


def is_free(storage: Storage) -> bool:
    """Whether `contend` would take the lease at once: no owner, one that gave it back, or gone."""
    owner = decode(_look(storage).data)
    return owner is None or owner.released or is_gone(owner.process, this_process())


def _look(storage: Storage) -> Sight:
    numbers = lease_numbers(storage.names(FOLDER))
    return Sight(numbers[-1], storage.read(file_name(numbers[-1]))) if numbers else Sight(0, None)


def _create(storage: Storage, number: int, nonce: str, process: Process) -> LeaseRecord | None:
    """Take a number; None where another was faster."""
    at, name = utc_now(), file_name(number)
    record = LeaseRecord(
        number, nonce, **asdict(process), taken_at=at, beat=0, beat_at=at, released=False
    )
    if not storage.create(name, record.encode()):
        # A storage that repeats a request whose answer was lost refuses what it made for us.
        found = decode(storage.read(name))
        if found is None or found.nonce != nonce:
            return None
    numbers = lease_numbers(storage.names(FOLDER))
    if not numbers or numbers[-1] != number:
        # The number was used and removed while we slept between look and creation.
        storage.delete(name)
        return None
    for old in numbers[:-1]:
        if old < number - 1:
            storage.delete(file_name(old))
    return record


class Claim:
    """A number of ours. Once lost it never writes again."""

    def __init__(
        self,
        storage: Storage,
        record: LeaseRecord,
        times: LeaseTimes,
        now: Callable[[], float],
        good_at: float,
    ) -> None:
        self.record = record
        self._storage, self._times, self._now = storage, times, now
        # From before the request, so that we give up no later than a watcher does.
        self._good_at = good_at
        self._lost: str | None = None
        self._writing = threading.Lock()

    def beat(self) -> str | None:
        """Renew it -> None, or why it is lost."""
        with self._writing:
            return self._attempt(self._renew)

    def lost(self) -> str | None:
        """Why it is lost, or None. Looks itself where heartbeats are late (a process woken up)."""
        if self._now() - self._good_at >= self._times.dead_after_s:
            return self._attempt(self._look)
        return self._lost

    def check(self) -> str | None:
        """As `lost`, from the storage now: before what must not be done by two owners."""
        self.beat()
        return self._attempt(self._look)

    def release(self) -> None:
        """Give it back, if it is still ours; the next driver takes it at once."""
        with self._writing:
            self._attempt(self._give_back)
            self._lost = self._lost or "it was released"

    def _attempt(self, step: Callable[[], None]) -> str | None:
        if self._lost is not None:
            return self._lost
        try:
            step()
        except OSError as error:
            silent_s = self._now() - self._good_at
            if silent_s >= self._times.dead_after_s:
                self._lost = f"it could not be renewed for {silent_s:.1f} s ({error})"
        return self._lost

    def _look(self) -> None:
        """Find out whether the highest number is ours."""
        name = file_name(self.record.number)
        sight = _look(self._storage)
        owner = decode(sight.data)
        if sight.number < self.record.number:
            self._lost = f"its file {self._storage.root}/{name} is gone"
        elif sight.number > self.record.number or (owner and owner.nonce != self.record.nonce):
            who = f"process {owner.pid} on {owner.host} at {owner.taken_at}" if owner else "another"
            self._lost = f"taken over by {who}"

    def _renew(self) -> None:
        began = self._now()
        self._look()
        if self._lost is None:
            self._write(replace(self.record, beat=self.record.beat + 1, beat_at=utc_now()))
            self._good_at = began

    def _give_back(self) -> None:
        self._look()
        if self._lost is None:
            self._write(replace(self.record, beat_at=utc_now(), released=True))

    def _write(self, record: LeaseRecord) -> None:
        self._storage.write(file_name(record.number), record.encode())
        self.record = record
