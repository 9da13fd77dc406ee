"""Storage on S3 and Azure over real HTTP, with scripted failures."""

import os
import subprocess
import sys
import threading
import time
from email.utils import formatdate
from pathlib import Path

import pytest

from datasets_src.errors import UserError
from datasets_src.retry_after import retry_after_s
from tests.servers.fault_proxy import Rule
from tests.servers.object_stores import Bucket
from trainers.storage import object_store as remote
from trainers.storage.errors import read_fault
from trainers.storage.object_store import RemoteError, RemoteStorage, Retry, is_remote

ROOT = Path(__file__).resolve().parents[3]


class Clock:
    """Replaces the module `time` of the storage: only its sleeps advance it."""

    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    replacement = Clock()
    monkeypatch.setattr(remote, "time", replacement)
    return replacement


def test_files_are_written_read_listed_and_deleted(bucket: Bucket) -> None:
    storage = bucket.storage()
    storage.write("run.json", b"1")
    storage.write("run.json", b"22")
    storage.write("ledger/0/a.jsonl", b"")
    storage.write("ledger-old/b.jsonl", b"b")
    assert storage.read("run.json") == b"22"
    assert storage.read("ledger/0/a.jsonl") == b""
    assert storage.read("absent") is None
    assert storage.names() == ["ledger-old/b.jsonl", "ledger/0/a.jsonl", "run.json"]
    assert storage.names("ledger") == ["ledger/0/a.jsonl"]
    assert storage.names("absent") == []
    storage.delete("run.json")
    storage.delete("run.json")
    assert storage.read("run.json") is None
    assert bucket.storage("runs").names("demo/ledger") == ["demo/ledger/0/a.jsonl"]


def test_a_reader_sees_later_writes_of_another_writer(bucket: Bucket) -> None:
    reader, writer = bucket.storage(), bucket.storage()
    assert reader.names("checkpoints") == []
    writer.write("checkpoints/a", b"1")
    assert reader.names("checkpoints") == ["checkpoints/a"]
    writer.delete("checkpoints/a")
    assert reader.names("checkpoints") == []


def test_one_of_eight_threads_creates_a_name(bucket: Bucket) -> None:
    storage, won = bucket.storage(), []
    start = threading.Barrier(8)

    def make(number: int) -> None:
        start.wait()
        if storage.create("lease/1", str(number).encode()):
            won.append(number)

    threads = [threading.Thread(target=make, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(won) == 1
    assert storage.read("lease/1") == str(won[0]).encode()


def test_a_name_whose_first_response_was_lost_is_ours(bucket: Bucket) -> None:
    storage = bucket.storage()
    bucket.proxy.rules = [Rule("lost", every=1000, after=-999)]  # the first call
    assert storage.create("lease/1", b"same") is True
    assert bucket.proxy.broken == 1
    # The same bytes from another writer: the mark decides.
    assert storage.create("lease/1", b"same") is False


@pytest.mark.parametrize("kind", [408, 429, 500, 503, "reset", "lost", "cut"])
def test_every_operation_survives_every_third_call_broken(
    bucket: Bucket, kind: int, tmp_path: Path
) -> None:
    storage = bucket.storage()
    source, target = tmp_path / "source", tmp_path / "target"
    bucket.proxy.rules = [Rule(kind, every=3)]
    for number in range(4):
        name, data = f"d/{number}", os.urandom(5000)
        storage.write(name, data)
        assert storage.read(name) == data
        assert storage.create(f"e/{number}", data) is True
        assert storage.create(f"e/{number}", data) is False
        source.write_bytes(data[::-1])
        storage.upload(source, name)
        storage.download(name, target)
        assert target.read_bytes() == data[::-1]
        storage.copy(name, f"c/{number}")
        assert storage.read(f"c/{number}") == data[::-1]
        storage.delete(name)
        assert len(storage.names("e")) == number + 1
    assert storage.names("d") == []
    assert bucket.proxy.broken >= 12


@pytest.mark.parametrize("kind", [503, "reset", "lost", "cut"])
def test_a_large_file_is_sent_in_parts_retried_one_by_one(
    bucket: Bucket, kind: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(remote, "PART_BYTES", 5 * 2**20)  # the least that S3 takes
    data = os.urandom(11 * 2**20 + 7)
    (tmp_path / "source").write_bytes(data)
    bucket.proxy.rules = [Rule(kind, every=3)]
    storage = bucket.storage()
    storage.upload(tmp_path / "source", "model")
    storage.download("model", tmp_path / "target")
    assert (tmp_path / "target").read_bytes() == data
    assert bucket.proxy.broken >= 2
    assert sorted(path.name for path in tmp_path.iterdir()) == ["source", "target"]


def test_denied_access_is_reported_after_one_call(bucket: Bucket, tmp_path: Path) -> None:
    storage = bucket.storage()
    storage.write("a", b"1")
    bucket.proxy.rules = [Rule(403, after=1)]
    remedy = "AWS_ACCESS_KEY_ID" if bucket.kind == "s3" else "AZURE_STORAGE_CONNECTION_STRING"
    for number, operation in enumerate(
        (
            lambda: storage.read("a"),
            lambda: storage.write("a", b"2"),
            lambda: storage.create("b", b"2"),
            lambda: storage.delete("a"),
            lambda: storage.names(),
            lambda: storage.download("a", tmp_path / "a"),
        ),
        start=2,
    ):
        with pytest.raises(UserError) as error:
            operation()
        assert len(bucket.proxy.calls) == number
        assert bucket.url in str(error.value)
        assert "403" in str(error.value)
        assert remedy in str(error.value)
    assert list(tmp_path.iterdir()) == []
    bucket.proxy.clear()
    assert storage.read("a") == b"1"


def test_a_missing_bucket_is_reported_after_one_call(bucket: Bucket) -> None:
    url = bucket.url.replace("://b", "://x") + "/runs"
    with pytest.raises(UserError, match=r"404.*create it"):
        RemoteStorage(url).write("a", b"1")
    assert len(bucket.proxy.calls) == 1


def test_a_retry_waits_as_long_as_the_store_asks(bucket: Bucket, clock: Clock) -> None:
    storage = bucket.storage()
    bucket.proxy.rules = [Rule(429, every=2, after=-1, headers={"Retry-After": "2"})]
    storage.write("a", b"1")
    assert clock.now == 2.0
    assert len(bucket.proxy.calls) == 2


def test_retries_end_when_the_time_is_up(bucket: Bucket, clock: Clock) -> None:
    storage = bucket.storage(retry=Retry(total_s=2.0, first_wait_s=0.1, max_wait_s=0.2))
    bucket.proxy.rules = [Rule(503)]
    with pytest.raises(RemoteError, match=r"503 .* tries in 2 s") as error:
        storage.read("a")
    assert 1.8 <= clock.now <= 2.0
    # One call per try: the client's own retries do not multiply ours.
    assert f" {len(bucket.proxy.calls)} tries" in str(error.value)
    assert 4 <= len(bucket.proxy.calls) <= 40
    bucket.proxy.clear()
    bucket.proxy.rules = [Rule(429, headers={"Retry-After": "60"})]
    with pytest.raises(RemoteError, match="429"):
        storage.read("a")
    assert len(bucket.proxy.calls) == 1


def test_a_failed_download_keeps_the_old_file(bucket: Bucket, tmp_path: Path) -> None:
    storage = bucket.storage(retry=Retry(total_s=0.3, first_wait_s=0.1))
    storage.write("a", b"new")
    (tmp_path / "a").write_bytes(b"old")
    bucket.proxy.rules = [Rule("cut", match="GET")]
    with pytest.raises(RemoteError):
        storage.download("a", tmp_path / "a")
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [b"old"]
    with pytest.raises(FileNotFoundError):
        storage.download("absent", tmp_path / "a")


def test_a_check_leaves_nothing_behind(bucket: Bucket) -> None:
    bucket.storage().check()
    assert bucket.storage("").names() == []


def test_a_process_exits_without_warnings_of_open_sessions(bucket: Bucket) -> None:
    code = (
        "from trainers.storage.object_store import RemoteStorage; "
        f"print(RemoteStorage('{bucket.url}/x').read('a'))"
    )
    ran = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "None\n", "")


def test_a_store_on_the_hub_is_refused_by_name() -> None:
    assert not is_remote("runs")
    assert not is_remote("/data/runs")
    assert is_remote("s3://bucket/runs")
    assert is_remote("abfs://container@account.dfs.core.windows.net/runs")
    with pytest.raises(UserError, match=r"hub\.push"):
        is_remote("hf://me/demo")
    with pytest.raises(UserError, match="gs:// is not supported"):
        is_remote("gs://bucket/runs")


def test_a_missing_package_is_reported_with_the_command_to_install() -> None:
    code = (
        "import sys\n"
        "sys.modules['s3fs'] = sys.modules['adlfs'] = None\n"
        "from trainers.storage.object_store import RemoteStorage\n"
        "for url in ('s3://b/runs', 'abfs://c@a.dfs.core.windows.net/runs'):\n"
        "    try:\n"
        "        RemoteStorage(url)\n"
        "    except ValueError as error:\n"
        "        print(error)\n"
    )
    ran = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    first, second = ran.stdout.splitlines()
    assert "needs the package" in first and first.endswith("--group s3")
    assert "needs the package adlfs" in second and second.endswith("--group azure")


def test_a_url_without_an_account_is_refused_with_a_correct_one() -> None:
    pytest.importorskip("adlfs")
    with pytest.raises(UserError, match=r"abfs://box@account\.dfs\.core\.windows\.net/runs"):
        RemoteStorage("abfs://box/runs")


def test_responses_are_classified() -> None:
    assert read_fault(429, "", {"Retry-After": "7"}).retry_after_s == 7.0
    assert 800 < retry_after_s(formatdate(time.time() + 1000, usegmt=True)) < 1000.5
    assert retry_after_s("soon") == 0.0
    assert read_fault(409, "ConditionalRequestConflict", {}).is_retryable
    assert not read_fault(409, "BlobAlreadyExists", {}).is_retryable
    assert read_fault(400, "ExpiredToken", {}).refused
    assert not read_fault(404, "NoSuchBucket", {}).missing
