"""Take, renew and lose a lease: single steps over a storage, without threads or real time.

claim = contend(storage, LeaseTimes(), Environment())    # UserError if the owner is alive
claim.beat()                                             # None, or why it is lost
claim.release()

The highest number owns the lease. A number is taken by exclusive creation of its file, so exactly
one contender wins. Clocks of two hosts are never compared: a contender watches the owner's file
change on its own clock. The highest file is never removed, so a number names one owner forever; the
file before it stays too, so that no concurrent listing finds the folder empty.
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
    """Seconds between heartbeats, and without one until an owner elsewhere counts as dead."""

    beat_every_s: float = 1.0
    dead_after_s: float = 4.0

    def __post_init__(self) -> None:
        assert 0 < 2 * self.beat_every_s <= self.dead_after_s, self

    @property
    def poll_every_s(self) -> float:
        """Seconds between two polls of a contender."""
        return self.beat_every_s / 4


def seconds() -> float:
    """A clock that includes suspended time, where the platform has one."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


@dataclass(frozen=True)
class Environment:
    """A contender's process and clock; tests simulate both."""

    process: Process = field(default_factory=this_process)
    now: Callable[[], float] = seconds
    sleep: Callable[[float], None] = time.sleep
    is_gone: Callable[[Process, Process], bool] = is_gone


@dataclass(frozen=True)
class Observation:
    """The highest lease file as a contender read it; number 0 if there is none."""

    number: int
    data: bytes | None


class Watch:
    """Decides, observation by observation, whether the owner is dead."""

    def __init__(self, root: str, times: LeaseTimes, environment: Environment) -> None:
        self._root, self._times, self._environment = root, times, environment
        self._first: tuple[Observation, float] | None = None
        self._read_at = environment.now()

    def may_take(self, observed: Observation) -> bool:
        """True: take the next number. False: poll again.

        Raises:
            UserError: the owner is alive.
        """
        now, read_at = self._environment.now(), self._read_at
        first, since = self._first = self._first or (observed, now)
        self._read_at = now
        owner = decode(observed.data)
        if observed.number == 0 or (owner is not None and owner.released):
            return True
        if owner is not None and self._environment.is_gone(
            owner.process, self._environment.process
        ):
            return True
        if observed != first:
            # A heartbeat or a new owner: either way a process is alive.
            raise UserError(self._beating(owner, now - read_at))
        if now - since < self._times.dead_after_s:
            return False
        if owner is not None and on_same_machine(owner.process, self._environment.process):
            raise UserError(self._silent(owner, now - since))
        return True

    def _beating(self, owner: LeaseRecord | None, age_s: float) -> str:
        who = _since(owner) if owner else "a process whose lease file is unreadable"
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


def contend(storage: Storage, times: LeaseTimes, environment: Environment) -> "Claim":
    """Take the lease, waiting up to `dead_after_s` for a heartbeat of its owner.

    Raises:
        UserError: the owner is alive.
    """
    watch, nonce = Watch(storage.root, times, environment), uuid.uuid4().hex
    while True:
        observed = _read_highest(storage)
        if not watch.may_take(observed):
            environment.sleep(times.poll_every_s)
            continue
        began = environment.now()
        if record := _create(storage, observed.number + 1, nonce, environment.process):
            return Claim(storage, record, times, environment.now, began)
        environment.sleep(times.poll_every_s)


def is_free(storage: Storage) -> bool:
    """Whether `contend` would take the lease immediately: no owner, a released lease, or a dead
    process on this machine."""
    owner = decode(_read_highest(storage).data)
    return owner is None or owner.released or is_gone(owner.process, this_process())


def _read_highest(storage: Storage) -> Observation:
    numbers = lease_numbers(storage.names(FOLDER))
    if not numbers:
        return Observation(0, None)
    return Observation(numbers[-1], storage.read(file_name(numbers[-1])))


def _create(storage: Storage, number: int, nonce: str, process: Process) -> LeaseRecord | None:
    """Take a number; None if another contender was faster."""
    at, name = utc_now(), file_name(number)
    record = LeaseRecord(
        number, nonce, **asdict(process), taken_at=at, beat=0, beat_at=at, released=False
    )
    if not storage.create(name, record.encode()):
        # If the storage repeats a request whose response was lost, it finds our own file.
        found = decode(storage.read(name))
        if found is None or found.nonce != nonce:
            return None
    numbers = lease_numbers(storage.names(FOLDER))
    if not numbers or numbers[-1] != number:
        # The number was used and removed between our listing and the creation.
        storage.delete(name)
        return None
    for old in numbers[:-1]:
        if old < number - 1:
            storage.delete(file_name(old))
    return record


class Claim:
    """A lease number that we own. Once lost, it never writes again."""

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
        # The time before the request, so that we give up no later than a watching contender.
        self._good_at = good_at
        self._lost: str | None = None
        self._writing = threading.Lock()

    def beat(self) -> str | None:
        """Send a heartbeat; returns None, or why the lease is lost."""
        with self._writing:
            return self._attempt(self._renew)

    def lost(self) -> str | None:
        """Why the lease is lost, or None. Reads the storage only if heartbeats are late, as after
        the process was suspended."""
        if self._now() - self._good_at >= self._times.dead_after_s:
            return self._attempt(self._check_owner)
        return self._lost

    def check(self) -> str | None:
        """Like `lost`, but reads the storage now; for what two owners must not both do."""
        self.beat()
        return self._attempt(self._check_owner)

    def release(self) -> None:
        """Release the lease if it is still ours; the next driver takes it immediately."""
        with self._writing:
            self._attempt(self._write_release)
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

    def _check_owner(self) -> None:
        """Check that the highest number is ours."""
        name = file_name(self.record.number)
        observed = _read_highest(self._storage)
        owner = decode(observed.data)
        if observed.number < self.record.number:
            self._lost = f"its file {self._storage.root}/{name} is gone"
        elif observed.number > self.record.number or (owner and owner.nonce != self.record.nonce):
            who = f"process {owner.pid} on {owner.host} at {owner.taken_at}" if owner else "another"
            self._lost = f"taken over by {who}"

    def _renew(self) -> None:
        began = self._now()
        self._check_owner()
        if self._lost is None:
            self._write(replace(self.record, beat=self.record.beat + 1, beat_at=utc_now()))
            self._good_at = began

    def _write_release(self) -> None:
        self._check_owner()
        if self._lost is None:
            self._write(replace(self.record, beat_at=utc_now(), released=True))

    def _write(self, record: LeaseRecord) -> None:
        self._storage.write(file_name(record.number), record.encode())
        self.record = record
