"""The lease between real processes: refused, killed, suspended, raced for."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from datasets_src.errors import UserError
from trainers.lease.claim import Claim, LeaseTimes, Surroundings, contend
from trainers.lease.lease import Lease
from trainers.lease.record import Process, decode, file_name, is_gone, this_process
from trainers.storage.local import LocalStorage

ROOT = Path(__file__).resolve().parents[3]
QUICK = LeaseTimes(beat_every_s=0.2, dead_after_s=1.0)
FIRST = file_name(1)
# Takes the lease, tells its number, then tells why it is lost.
HOLD = """
import sys, time
from pathlib import Path
from trainers.lease import Lease
from trainers.lease_claim import LeaseTimes
from trainers.storage import LocalStorage
times = LeaseTimes(float(sys.argv[2]), float(sys.argv[3]))
lease = Lease.take(LocalStorage(Path(sys.argv[1])), times=times)
print(lease.record.number, flush=True)
while lease.lost() is None:
    time.sleep(0.02)
print(lease.lost(), flush=True)
"""
# Waits for a line, then contends from a host of its own and holds what it won until the input ends.
CONTEND = """
import sys
from pathlib import Path
from datasets_src.errors import UserError
from trainers.lease import Lease
from trainers.lease_claim import LeaseTimes, Surroundings
from trainers.lease_record import Process
from trainers.storage import LocalStorage
here = Surroundings(Process("host-" + sys.argv[2], None, int(sys.argv[2]), None))
sys.stdin.readline()
try:
    lease = Lease.take(LocalStorage(Path(sys.argv[1])), times=LeaseTimes(0.2, 1.0), around=here)
    print("won", lease.record.number, flush=True)
    sys.stdin.read()
except UserError as error:
    print(error, flush=True)
"""


@pytest.fixture
def storage(tmp_path: Path) -> LocalStorage:
    return LocalStorage(tmp_path / "run")


@pytest.fixture
def start() -> Iterator[Callable[..., "subprocess.Popen[str]"]]:
    """Starts children, and ends those still there after the test."""
    children = []

    def start_one(code: str, *arguments: object) -> "subprocess.Popen[str]":
        command = [sys.executable, "-c", code, *map(str, arguments)]
        children.append(subprocess.Popen(command, cwd=ROOT, stdin=-1, stdout=-1, text=True))
        return children[-1]

    yield start_one
    for child in children:
        child.kill()
        child.communicate()


def reported(child: "subprocess.Popen[str]") -> str:
    assert child.stdout is not None
    return child.stdout.readline().strip()


def from_another_host(times: LeaseTimes, storage: LocalStorage) -> Lease:
    here = Surroundings(replace(this_process(), host="host-b", pid=99))
    return Lease.take(storage, times=times, around=here)


def wait_for_a_beat(storage: LocalStorage) -> None:
    before = storage.read(FIRST)
    while storage.read(FIRST) == before:
        time.sleep(0.005)


def test_a_lease_is_taken_given_back_and_taken_again(storage: LocalStorage) -> None:
    for number in (1, 2, 3):
        with Lease.take(storage) as lease:
            assert (lease.record.number, lease.record.pid) == (number, os.getpid())
            assert lease.lost() is None is lease.check()
    assert storage.names() == [file_name(2), file_name(3)]
    data = storage.read(file_name(3))
    record = decode(data)
    assert data is not None and record is not None and record.released and record.beat == 1
    assert json.loads(data) == asdict(record)


def test_a_second_writer_is_refused_within_five_seconds(
    storage: LocalStorage, start: Callable[..., "subprocess.Popen[str]"]
) -> None:
    child = start(HOLD, storage.root, 1.0, 4.0)
    assert reported(child) == "1"
    for take in (Lease.take, lambda s: from_another_host(LeaseTimes(), s)):
        began = time.monotonic()
        with pytest.raises(UserError) as refused:
            take(storage)
        assert time.monotonic() - began < 5
        pattern = (
            rf"run_name: {storage.root} is being written by process {child.pid} on \S+ since "
            r"\d{4}-\S+Z \(for \d+ s\), last heartbeat (\d\.\d) s ago; wait for it, stop it, or "
            "choose another run_name"
        )
        match = re.fullmatch(pattern, str(refused.value))
        assert match and float(match[1]) < 1.5
    assert storage.names() == [FIRST]


def test_the_lease_of_a_killed_process_is_taken_at_once(
    storage: LocalStorage, start: Callable[..., "subprocess.Popen[str]"]
) -> None:
    child = start(HOLD, storage.root, 1.0, 4.0)
    assert reported(child) == "1"
    child.kill()
    # Not waited for: until then it is a zombie, whose pid still answers.
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    began = time.monotonic()
    with Lease.take(storage) as lease:
        assert time.monotonic() - began < 0.5
        assert lease.record.number == 2


def test_a_suspended_owner_is_replaced_from_another_host_and_writes_no_more(
    storage: LocalStorage, start: Callable[..., "subprocess.Popen[str]"]
) -> None:
    child = start(HOLD, storage.root, QUICK.beat_every_s, QUICK.dead_after_s)
    assert reported(child) == "1"
    wait_for_a_beat(storage)  # so that it is not stopped in the middle of the next
    child.send_signal(signal.SIGSTOP)
    with pytest.raises(UserError, match=rf"alive but suspended .* \(kill -9 {child.pid}\)"):
        Lease.take(storage, times=QUICK)
    began = time.monotonic()
    with from_another_host(QUICK, storage) as lease:
        assert QUICK.dead_after_s <= time.monotonic() - began < QUICK.dead_after_s + 1
        assert lease.record.number == 2
        before = storage.read(FIRST)
        child.send_signal(signal.SIGCONT)
        assert reported(child) == f"taken over by process 99 on host-b at {lease.record.taken_at}"
        assert child.wait(timeout=10) == 0
        time.sleep(2 * QUICK.beat_every_s)
        assert storage.read(FIRST) == before
        assert lease.check() is None


def test_of_eight_contenders_for_a_dead_lease_one_wins(
    storage: LocalStorage, start: Callable[..., "subprocess.Popen[str]"]
) -> None:
    with Lease.take(storage) as lease:
        stale = lease.record.encode()
    storage.write(FIRST, stale)
    children = [start(CONTEND, storage.root, number) for number in range(8)]
    for child in children:
        assert child.stdin is not None
        child.stdin.write("go\n")
        child.stdin.flush()
    replies = [reported(child) for child in children]
    won = [number for number, reply in enumerate(replies) if reply == "won 2"]
    assert len(won) == 1
    refused = [reply for reply in replies if f"written by process {won[0]} on host-" in reply]
    assert len(refused) == 7
    assert storage.names() == [FIRST, file_name(2)]


def test_a_file_that_nobody_can_read_is_watched_like_any_other(storage: LocalStorage) -> None:
    storage.write(FIRST, b'{"number": 1, "no')
    began = time.monotonic()
    with Lease.take(storage, times=QUICK) as lease:
        assert time.monotonic() - began >= QUICK.dead_after_s
        assert lease.record.number == 2
        storage.write("lease/notes.txt", b"not a lease")
        storage.write("lease/9.json", b"not a lease")
        assert lease.check() is None


def test_an_owner_whose_file_is_removed_or_replaced_has_lost_it(storage: LocalStorage) -> None:
    reasons: list[str] = []
    with Lease.take(storage, times=QUICK, on_lost=reasons.append) as lease:
        storage.delete(FIRST)
        while not reasons:
            time.sleep(0.01)
        assert reasons == [lease.lost()] == [f"its file {storage.root}/{FIRST} is gone"]
        assert storage.names() == []
        with Lease.take(storage, times=QUICK) as other:
            assert other.record.number == 1 and other.check() is None
    with Lease.take(storage, times=LeaseTimes(5, 10)) as third:
        storage.write(file_name(2), replace(third.record, nonce="x", pid=7).encode())
        assert str(third.check()).startswith("taken over by process 7 on ")


def test_a_storage_that_fails_is_asked_again_until_the_owner_would_count_as_dead(
    storage: LocalStorage,
) -> None:
    folder, hidden = storage.path("lease"), storage.path("elsewhere")
    with Lease.take(storage, times=QUICK) as lease:
        for silent_s, is_lost in ((0.5 * QUICK.dead_after_s, False), (3.0, True)):
            wait_for_a_beat(storage)
            folder.rename(hidden)
            folder.symlink_to(folder)  # every request answers ELOOP
            time.sleep(silent_s)
            folder.unlink()
            hidden.rename(folder)
            assert (lease.check() is not None) is is_lost
        assert re.match(r"it could not be renewed for \d\.\d s \(.*symbolic", str(lease.lost()))
        last = storage.read(FIRST)
    assert storage.read(FIRST) == last


def test_an_owner_that_wakes_up_looks_before_it_says_that_it_is_one(storage: LocalStorage) -> None:
    clock = [0.0]

    def pass_time(seconds: float) -> None:
        clock[0] += seconds

    def take(host: str) -> Claim:
        process = Process(host, None, 1, None)
        around = Surroundings(process, now=lambda: clock[0], sleep=pass_time)
        return contend(storage, LeaseTimes(), around)

    owner = take("host-a")
    heir = take("host-b")
    assert 4.0 <= clock[0] <= 4.5
    assert str(owner.lost()).startswith("taken over by process 1 on host-b at ")
    assert heir.lost() is None
    pass_time(100)
    assert heir.lost() is None is heir.beat()


def test_a_creation_whose_answer_was_lost_is_ours(tmp_path: Path) -> None:
    class Forgetful(LocalStorage):
        def create(self, name: str, data: bytes) -> bool:
            return super().create(name, data) and super().create(name, data)

    storage = Forgetful(tmp_path)
    with Lease.take(storage) as lease:
        assert lease.record.number == 1
        with pytest.raises(UserError, match="is being written by"):
            Lease.take(storage)


def test_a_process_is_gone_only_where_its_pid_means_something() -> None:
    here = this_process()
    assert here.kernel is not None and here.pid_started is not None
    assert not is_gone(here, here)
    assert is_gone(replace(here, pid_started=here.pid_started - 1), here)
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    dead = replace(here, pid=child.pid)
    assert is_gone(dead, here)
    for elsewhere in (replace(dead, host="x"), replace(dead, kernel="x"), Process("x", None, 1, 1)):
        assert not is_gone(elsewhere, here)
    assert not is_gone(replace(dead, kernel=None), replace(here, kernel=None))
