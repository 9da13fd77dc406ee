"""Replies on the disk: whole after a kill, asked for once, one writer."""

import json
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from datasets_src.errors import UserError
from datasets_src.recipes.teacher.cache import ReplyCache, request_key

ROOT = Path(__file__).resolve().parents[4]


def test_a_reply_is_found_again(tmp_path: Path) -> None:
    path = tmp_path / "a" / "replies.jsonl"
    with ReplyCache(path) as cache:
        cache.put("k1", "teacher", {"text": "ñ \ud83d 🦎"})
        cache.put("k2", "crossref", [1, None])
    with ReplyCache(path) as cache:
        assert len(cache) == 2
        assert cache.get("k2") == [1, None]
        assert cache.get("k3") is None
        assert list(cache.replies("crossref")) == [[1, None]]
        assert cache.get("k1")["text"].startswith("ñ ")


def test_keys_tell_all_of_a_request() -> None:
    request: dict[str, Any] = {"model": "m", "messages": [{"role": "user", "content": "hola"}]}
    assert request_key("t", request) == request_key("t", dict(reversed(request.items())))
    others = [{**request, "seed": 1}, {**request, "model": "n"}]
    keys = {request_key("t", r) for r in [request, *others]} | {request_key("u", request)}
    assert len(keys) == 4


@pytest.mark.parametrize("cut", [1, 20, 60])
def test_a_line_cut_short_is_cut_off_and_written_anew(tmp_path: Path, cut: int) -> None:
    path = tmp_path / "replies.jsonl"
    with ReplyCache(path) as cache:
        cache.put("k1", "teacher", "uno")
        cache.put("k2", "teacher", "dos" * 30)
    data = path.read_bytes()
    path.write_bytes(data[:-cut])
    with ReplyCache(path) as cache:
        assert (cache.get("k1"), cache.get("k2")) == ("uno", None)
        cache.put("k2", "teacher", "dos" * 30)
    assert path.read_bytes() == data


def test_a_broken_line_between_is_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "replies.jsonl"
    good = json.dumps({"key": "k", "service": "t", "reply": 1}) + "\n"
    path.write_text("\0\0\0\n[1]\n" + good)
    with ReplyCache(path) as cache:
        assert len(cache) == 1
        assert cache.get("k") == 1


def test_threads_share_the_disk_and_lose_nothing(tmp_path: Path) -> None:
    path = tmp_path / "replies.jsonl"
    with ReplyCache(path) as cache:

        def put(thread: int) -> None:
            for i in range(20):
                cache.put(f"{thread}.{i}", "t", [thread, i])
                assert cache.get(f"{thread}.{i}") == [thread, i]

        threads = [threading.Thread(target=put, args=(t,)) for t in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    with ReplyCache(path) as cache:
        assert len(cache) == 160
        assert all(cache.get(f"{t}.{i}") == [t, i] for t in range(8) for i in range(20))


def test_a_second_build_of_a_name_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "replies.jsonl"
    code = (
        "import sys; from pathlib import Path\n"
        "from datasets_src.recipes.teacher.cache import ReplyCache\n"
        "ReplyCache(Path(sys.argv[1])); print('held', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(path)],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"held\n"
        with pytest.raises(UserError, match="build_name: another build writes"):
            ReplyCache(path)
        other.kill()
    ReplyCache(path).__exit__(None, None, None)  # the lock ends with its process
