"""Drivers that contend for a lease one storage request at a time, on an injected clock.

Each runs the real code in a thread that stops before every request and every sleep; `step` lets it
go as far as the next stop. So a test chooses the order, and a crash can fall between any two.
"""

import threading
from collections.abc import Callable

from datasets_src.errors import UserError
from trainers.lease.claim import Claim, LeaseTimes, Surroundings, contend
from trainers.lease.record import Process, decode, file_name, lease_numbers

TIMES = LeaseTimes(beat_every_s=1.0, dead_after_s=4.0)
WAIT_S = 20


class Crash(BaseException):
    """The process ends here; nothing of it runs any more."""


class World:
    """One storage, one clock, and who lives. Checks each request against the rules of the lease."""

    root = "memory"

    def __init__(self) -> None:
        self.now = 0.0
        self.files: dict[str, bytes] = {}
        self.actors: list[Actor] = []
        self.highest = 0
        self.written_at: dict[int, float] = {}
        self.longest_silence: dict[int, float] = {}

    def is_gone(self, process: Process, here: Process) -> bool:
        """As the real one: only pids of the same host can be looked up."""
        return process.host == here.host and self.actors[process.pid].dead

    def numbers(self) -> list[int]:
        return lease_numbers(self.files)

    def create(self, name: str, data: bytes, by: "Actor") -> bool:
        if name in self.files:
            return False
        (number,) = lease_numbers([name])
        if number > self.highest:
            assert number == self.highest + 1
            self._check_takeover(by)
            self.highest = number
            self.written_at[number], self.longest_silence[number] = self.now, 0.0
        self.files[name] = data
        return True

    def _check_takeover(self, by: "Actor") -> None:
        """An owner that never was silent for `dead_after_s` loses its lease only by its end."""
        before = decode(self.files.get(file_name(self.highest)))
        if before is not None and not before.released:
            silence = self.now - self.written_at[self.highest]
            longest = max(silence, self.longest_silence[self.highest])
            assert longest >= TIMES.dead_after_s or self.is_gone(before.process, by.process)

    def write(self, name: str, data: bytes, by: "Actor") -> None:
        record = decode(data)
        assert record is not None and record.process == by.process
        assert by.looked and not by.saw_higher, "an owner wrote that was fenced, or did not ask"
        if record.number == self.highest:
            silence = self.now - self.written_at[record.number]
            longest = self.longest_silence
            longest[record.number] = max(longest[record.number], silence)
            self.written_at[record.number] = self.now
        self.files[name] = data


class Actor:
    """One driver, and its view of the world's storage."""

    root = World.root

    def __init__(self, world: World, host: str) -> None:
        self.world, self.pid = world, len(world.actors)
        self.process = Process(host, host, self.pid, self.pid)
        self.claim: Claim | None = None
        self.refused: str | None = None
        self.why_lost: str | None = None
        self.broken_rule: AssertionError | None = None
        self.dead = self.looked = self.saw_higher = self.fails_next = self.wants_release = False
        self.wakes_at = 0.0
        self._go, self._stopped = threading.Semaphore(0), threading.Semaphore(0)
        self._crashes = False
        self._thread = threading.Thread(target=self._main, daemon=True)
        world.actors.append(self)
        self._thread.start()
        assert self._stopped.acquire(timeout=WAIT_S)

    @property
    def believes(self) -> bool:
        return self.claim is not None and not self.dead and self.claim._lost is None

    def can_step(self) -> bool:
        return not self.dead and self.world.now >= self.wakes_at

    def step(self) -> None:
        """One request, or the end of a sleep."""
        self._go.release()
        assert self._stopped.acquire(timeout=WAIT_S), "stuck"
        if self.broken_rule is not None:
            raise self.broken_rule

    def crash(self) -> None:
        self._crashes = True
        self.step()
        assert self.dead

    def run(self, until: Callable[["Actor"], bool]) -> None:
        """Steps until it is so, letting time pass where it sleeps."""
        while not until(self):
            self.world.now = max(self.world.now, self.wakes_at)
            self.step()

    def names(self, prefix: str = "") -> list[str]:
        self._stop()
        self.looked = True
        names = sorted(name for name in self.world.files if name.startswith(f"{prefix}/"))
        if self.claim is not None:
            self.saw_higher |= max(lease_numbers(names), default=0) > self.claim.record.number
        return names

    def read(self, name: str) -> bytes | None:
        self._stop()
        return self.world.files.get(name)

    def write(self, name: str, data: bytes) -> None:
        self._stop()
        self.world.write(name, data, self)

    def create(self, name: str, data: bytes) -> bool:
        self._stop()
        return self.world.create(name, data, self)

    def delete(self, name: str) -> None:
        self._stop()
        self.world.files.pop(name, None)

    def _stop(self) -> None:
        self._stopped.release()
        self._go.acquire()
        if self._crashes:
            raise Crash
        if self.fails_next and self.claim is not None:
            self.fails_next = False
            raise OSError("503 from the storage")

    def _sleep(self, seconds: float) -> None:
        self.wakes_at, self.looked = self.world.now + seconds, False
        self._stopped.release()
        self._go.acquire()
        if self._crashes:
            raise Crash

    def _main(self) -> None:
        try:
            self._drive()
        except Crash:
            pass
        except UserError as error:
            self.refused = str(error)
        except AssertionError as error:
            self.broken_rule = error  # raised again where the test steps
        finally:
            self.dead = True
            self._stopped.release()

    def _drive(self) -> None:
        around = Surroundings(self.process, lambda: self.world.now, self._sleep, self.world.is_gone)
        self.claim = contend(self, TIMES, around)
        while self.why_lost is None:
            self._sleep(TIMES.beat_every_s)
            if self.wants_release:
                self.claim.release()
                return
            self.why_lost = self.claim.beat()
