"""A run directory mirrored on an object store: no reader ever sees a partial checkpoint."""

import hashlib
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from datasets_src.errors import UserError
from tests.servers.fault_proxy import Rule
from tests.servers.object_stores import QUICK, Bucket
from trainers.storage.checkpoints import damage, save_checkpoint
from trainers.storage.folders import DamagedError
from trainers.storage.json_files import append_jsonl, read_jsonl
from trainers.storage.manifest import MANIFEST
from trainers.storage.mirror import Mirror
from trainers.storage.object_store import RemoteStorage
from trainers.storage.uploader import Uploader

ROOT = Path(__file__).resolve().parents[3]
FILES = ("adapter_model.safetensors", "optimizer.safetensors", "trainer_state.json")


def make(run_dir: Path, step: int, attempt: str = "a1") -> Path:
    """A small checkpoint of random bytes."""

    def write(folder: Path) -> None:
        for name in FILES:
            (folder / name).write_bytes(os.urandom(3000))

    return save_checkpoint(run_dir / "checkpoints", step=step, attempt=attempt, write=write).path


def digests(folder: Path) -> dict[str, str]:
    return {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in folder.iterdir()}


def mirror_of(bucket: Bucket, local: Path) -> Mirror:
    return Mirror(bucket.storage(), local)


def test_a_checkpoint_arrives_on_another_node_byte_for_byte(bucket: Bucket, tmp_path: Path) -> None:
    here, there = mirror_of(bucket, tmp_path / "a"), mirror_of(bucket, tmp_path / "b")
    bucket.proxy.rules = [Rule("reset", every=3), Rule(503, every=4), Rule("cut", every=5)]
    saved = [make(here.local, step) for step in (20, 9, 140)]
    for path in saved:
        here.push_checkpoint(path)
    assert there.checkpoint_names() == ["step-000140.a1", "step-000020.a1", "step-000009.a1"]
    newest = there.newest_checkpoint()
    assert newest == there.local / "checkpoints" / "step-000140.a1"
    assert digests(newest) == digests(saved[2])
    assert bucket.proxy.broken >= 10
    bucket.proxy.clear()
    assert there.pull_checkpoint("step-000140.a1") == newest
    assert bucket.proxy.calls == []


def test_the_manifest_is_sent_last_and_deleted_first(bucket: Bucket, tmp_path: Path) -> None:
    mirror = mirror_of(bucket, tmp_path)
    mirror.push_checkpoint(make(tmp_path, 20))
    puts = [call for call in bucket.proxy.calls if call.startswith("PUT")]
    assert [MANIFEST in call for call in puts] == [False, False, False, True]
    bucket.proxy.clear()
    mirror.delete_checkpoint("step-000020.a1")
    deletes = [call for call in bucket.proxy.calls if call.startswith("DELETE")]
    assert [MANIFEST in call for call in deletes] == [True, False, False, False]
    assert mirror.storage.names() == []


def test_a_reader_that_polls_a_slow_writer_never_sees_half_a_checkpoint(
    bucket: Bucket, tmp_path: Path
) -> None:
    writer, reader = mirror_of(bucket, tmp_path / "a"), mirror_of(bucket, tmp_path / "b")
    bucket.proxy.rules = [Rule("slow", delay_s=0.1, match="PUT")]

    def push() -> None:
        for step in (10, 20, 30, 40):
            writer.push_checkpoint(make(writer.local, step))
            if step > 10:
                writer.delete_checkpoint(f"step-{step - 10:06d}.a1")

    thread = threading.Thread(target=push)
    thread.start()
    seen: list[str] = []
    polls = 0
    while thread.is_alive():
        polls += 1
        for name in reader.checkpoint_names():
            try:
                path = reader.pull_checkpoint(name)
            except FileNotFoundError:
                continue  # deleted since it was listed
            assert damage(path) is None
            seen.append(name)
    thread.join()
    assert polls > 10
    assert len(set(seen)) >= 3
    assert reader.checkpoint_names() == ["step-000040.a1"]
    assert reader.storage.names("quarantine") == []


def test_a_process_killed_while_it_pushes_leaves_the_previous_checkpoint(
    bucket: Bucket, tmp_path: Path
) -> None:
    writer, reader = mirror_of(bucket, tmp_path / "a"), mirror_of(bucket, tmp_path / "b")
    previous = make(writer.local, 10)
    writer.push_checkpoint(previous)
    late = make(writer.local, 20)
    bucket.proxy.clear()
    bucket.proxy.rules = [Rule("slow", delay_s=1.0, match=f"PUT {_path(bucket)}")]
    code = (
        "import sys; from pathlib import Path; from trainers.storage.mirror import *\n"
        "mirror = Mirror(RemoteStorage(sys.argv[1]), Path(sys.argv[2]))\n"
        "mirror.push_checkpoint(Path(sys.argv[3]))\n"
    )
    args = [sys.executable, "-c", code, writer.storage.root, str(writer.local), str(late)]
    process = subprocess.Popen(args, cwd=ROOT)
    while sum("PUT" in call for call in bucket.proxy.calls) < 2:
        assert process.poll() is None, process.returncode
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    time.sleep(1.5)  # what was on its way arrives
    bucket.proxy.clear()
    left = reader.storage.names("checkpoints/step-000020.a1")
    assert 1 <= len(left) <= 2 and not any(MANIFEST in name for name in left)
    assert reader.checkpoint_names() == ["step-000010.a1"]
    newest = reader.newest_checkpoint()
    assert newest is not None and digests(newest) == digests(previous)
    again = make(writer.local, 20, "b2")
    writer.push_checkpoint(again)
    newest = reader.newest_checkpoint()
    assert newest is not None and digests(newest) == digests(again)
    assert reader.delete_unfinished() == ["step-000020.a1"]
    assert reader.checkpoint_names() == ["step-000020.b2", "step-000010.a1"]
    assert reader.storage.names("checkpoints/step-000020.a1") == []


def _path(bucket: Bucket) -> str:
    """The prefix of the request path of a bucket's objects."""
    name = bucket.url.partition("://")[2].partition("@")[0]
    return f"/{name}/" if bucket.kind == "s3" else f"/devstoreaccount1/{name}/"


@pytest.mark.parametrize("harm", ["flipped", "missing", "truncated", "manifest", "empty manifest"])
def test_a_damaged_checkpoint_goes_to_quarantine_and_the_one_before_is_taken(
    bucket: Bucket, tmp_path: Path, harm: str
) -> None:
    writer, reader = mirror_of(bucket, tmp_path / "a"), mirror_of(bucket, tmp_path / "b")
    good = make(writer.local, 10)
    writer.push_checkpoint(good)
    writer.push_checkpoint(make(writer.local, 20))
    folder = "checkpoints/step-000020.a1"
    name = f"{folder}/{MANIFEST if 'manifest' in harm else FILES[1]}"
    data = bytearray(writer.storage.read(name) or b"")
    data[len(data) // 2] ^= 1
    if harm == "missing":
        writer.storage.delete(name)
    else:
        short = data[:100] if harm == "truncated" else b"" if harm == "empty manifest" else data
        writer.storage.write(name, bytes(short))
    bucket.proxy.clear()
    with pytest.raises(DamagedError, match=r"step-000020\.a1"):
        reader.pull_checkpoint("step-000020.a1")
    newest = reader.newest_checkpoint()
    assert newest is not None and digests(newest) == digests(good)
    assert reader.checkpoint_names() == ["step-000010.a1"]
    assert reader.storage.names(folder) == []
    changes = [call for call in bucket.proxy.calls if not call.startswith(("GET", "HEAD"))]
    assert changes[0].startswith("DELETE") and MANIFEST in changes[0]
    shelf = reader.storage.names("quarantine/step-000020.a1")
    assert len(shelf) == len(FILES) + 2 - (harm == "missing")
    assert reader.storage.read("quarantine/step-000020.a1/REASON")
    assert [p.name for p in (reader.local / "checkpoints").iterdir()] == ["step-000010.a1"]


def test_two_pullers_of_one_node_fetch_a_checkpoint_once(bucket: Bucket, tmp_path: Path) -> None:
    mirror_of(bucket, tmp_path / "a").push_checkpoint(make(tmp_path / "a", 10))
    bucket.proxy.clear()
    bucket.proxy.rules = [Rule("slow", delay_s=0.05)]
    pulled: list[Path] = []

    def pull() -> None:
        pulled.append(mirror_of(bucket, tmp_path / "b").pull_checkpoint("step-000010.a1"))

    threads = [threading.Thread(target=pull) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(pulled) == 3 and len(set(pulled)) == 1
    assert sum("GET" in call and FILES[0] in call for call in bucket.proxy.calls) == 1


def test_records_follow_and_only_what_changed_is_sent(bucket: Bucket, tmp_path: Path) -> None:
    here, there = mirror_of(bucket, tmp_path / "a"), mirror_of(bucket, tmp_path / "b")
    append_jsonl(here.local / "metrics.jsonl", {"step": 1})
    append_jsonl(here.local / "ledger" / "000001.a1.jsonl", {"step": 1})
    (here.local / "run.json").write_text("{}")
    (here.local / "report.html").write_text("no record")
    (here.local / "ledger" / ".x.part").write_text("half written")
    records = ["ledger/", "metrics.jsonl", "run.json"]
    names = ["ledger/000001.a1.jsonl", "metrics.jsonl", "run.json"]
    assert here.push_records(records) == names
    assert here.push_records(records) == []
    (there.local / "ledger").mkdir(parents=True)
    (there.local / "ledger" / "stale.jsonl").write_text("{}\n")
    assert there.pull_records(records) == names
    assert not (there.local / "ledger" / "stale.jsonl").exists()
    assert there.push_records(records) == []
    append_jsonl(there.local / "metrics.jsonl", {"step": 2})
    with (there.local / "metrics.jsonl").open("a") as file:
        file.write('{"step": 3')  # a line that is being written
    (there.local / "run.json").write_text("{ }")
    assert there.push_records(["metrics.jsonl"]) == ["metrics.jsonl"]
    here.pull_records(records)
    assert list(read_jsonl(here.local / "metrics.jsonl")) == [{"step": 1}, {"step": 2}]
    assert (here.local / "run.json").read_text() == "{}"


def test_folders_are_whole_or_not_there(bucket: Bucket, tmp_path: Path) -> None:
    here, there = mirror_of(bucket, tmp_path / "a"), mirror_of(bucket, tmp_path / "b")
    folder = here.local / "prepared" / "3f2a"
    (folder / "inner").mkdir(parents=True)
    (folder / "train.parquet").write_bytes(os.urandom(5000))
    (folder / "inner" / "empty").write_bytes(b"")
    assert not there.has_folder("prepared/3f2a")
    with pytest.raises(FileNotFoundError):
        there.pull_folder("prepared/3f2a")
    here.push_folder("prepared/3f2a")
    puts = [call for call in bucket.proxy.calls if call.startswith("PUT")]
    assert len(puts) == 3 and "COMPLETE.json" in puts[-1]
    here.push_folder("prepared/3f2a")
    assert sum(call.startswith("PUT") for call in bucket.proxy.calls) == 3
    assert there.has_folder("prepared/3f2a")
    pulled = there.pull_folder("prepared/3f2a")
    assert (pulled / "train.parquet").read_bytes() == (folder / "train.parquet").read_bytes()
    assert (pulled / "inner" / "empty").read_bytes() == b""
    here.storage.write("prepared/3f2a/train.parquet", b"other")
    third = mirror_of(bucket, tmp_path / "c")
    with pytest.raises(DamagedError):
        third.pull_folder("prepared/3f2a")
    assert list((third.local / "prepared").iterdir()) == []


def test_an_uploader_holds_back_a_third_checkpoint(
    bucket: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mirror = mirror_of(bucket, tmp_path)
    folders = [make(tmp_path, step) for step in (10, 20, 30)]
    append_jsonl(tmp_path / "metrics.jsonl", {"step": 30})
    push, may_push = mirror.push_checkpoint, threading.Event()

    def push_when_allowed(folder: Path) -> None:
        may_push.wait()
        push(folder)

    monkeypatch.setattr(mirror, "push_checkpoint", push_when_allowed)
    with Uploader(mirror, records=["metrics.jsonl"]) as uploader:
        for folder in folders[:2]:  # neither waits for a push
            uploader.put(folder)
        third = threading.Thread(target=uploader.put, args=(folders[2],))
        third.start()
        third.join(0.5)
        assert third.is_alive()  # it waits for the first
        may_push.set()
        third.join()
        assert "step-000010.a1" in mirror.checkpoint_names()
        uploader.flush()
        assert mirror.checkpoint_names() == ["step-000030.a1", "step-000020.a1", "step-000010.a1"]
        append_jsonl(tmp_path / "metrics.jsonl", {"step": 31})
    assert (mirror.storage.read("metrics.jsonl") or b"").count(b"\n") == 2
    calls = [call for call in bucket.proxy.calls if call.startswith("PUT")]
    pushed = next(i for i, call in enumerate(calls) if "metrics" in call)
    assert all("checkpoints" not in call for call in calls[:pushed])


def test_an_error_of_the_uploader_is_raised_to_its_caller(bucket: Bucket, tmp_path: Path) -> None:
    mirror = mirror_of(bucket, tmp_path)
    bucket.proxy.rules = [Rule(403)]
    uploader = Uploader(mirror, records=[])
    uploader.put(make(tmp_path, 10))
    for _ in range(2):
        with pytest.raises(UserError, match="403"):
            uploader.flush()
    with pytest.raises(UserError, match="403"):
        uploader.put(make(tmp_path, 20))
    with pytest.raises(UserError, match="403"), uploader:
        pass
    assert len(bucket.proxy.calls) == 1


def test_a_run_is_found_below_the_root_of_the_bucket(bucket: Bucket, tmp_path: Path) -> None:
    mirror = Mirror(RemoteStorage(f"{bucket.url}/", retry=QUICK), tmp_path)
    mirror.push_checkpoint(make(tmp_path, 10))
    assert mirror.checkpoint_names() == ["step-000010.a1"]
