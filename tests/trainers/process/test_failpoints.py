"""Failpoints: where, how often, and remembered by the process that comes after a killed one."""

import errno
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from trainers.process.failpoints import (
    FOLDER,
    SPECS,
    FailpointError,
    fail_at,
    failpoint_environment,
)

ROOT = Path(__file__).resolve().parents[3]


def arm(monkeypatch: pytest.MonkeyPatch, folder: Path, specs: str) -> None:
    monkeypatch.setenv(SPECS, specs)
    monkeypatch.setenv(FOLDER, str(folder))


def went_off(name: str, *, step: int | None = None, rank: int = 0) -> bool:
    try:
        fail_at(name, step=step, rank=rank)
    except FailpointError:
        return True
    return False


def test_nothing_without_the_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(SPECS, raising=False)
    monkeypatch.delenv(FOLDER, raising=False)
    assert not went_off("before_step", step=8)
    assert failpoint_environment() == {}


def test_only_where_all_conditions_hold(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    arm(monkeypatch, tmp_path, "before_step:step=8:rank=1:raise")
    assert not went_off("after_step", step=8, rank=1)
    assert not went_off("before_step", step=7, rank=1)
    assert not went_off("before_step", step=8, rank=0)
    assert not went_off("before_step", step=80, rank=1)
    assert not went_off("before_step", rank=1)
    assert list(tmp_path.iterdir()) == [], "nothing went off yet"
    assert went_off("before_step", step=8, rank=1)
    assert failpoint_environment() == {
        SPECS: "before_step:step=8:rank=1:raise",
        FOLDER: str(tmp_path),
    }


def test_a_name_alone_holds_everywhere_but_once(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    arm(monkeypatch, tmp_path, "before_step:raise")
    assert [went_off("before_step", step=s, rank=s % 2) for s in (3, 4, 5)] == [True, False, False]


def test_always(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    arm(monkeypatch, tmp_path, "before_step:step=7:always:raise")
    assert [went_off("before_step", step=s) for s in (7, 6, 7)] == [True, False, True]
    assert list(tmp_path.iterdir()) == []


def test_several_each_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    arm(monkeypatch, tmp_path, "a:step=1:raise,a:step=2:raise,b:raise")
    reported = [("a", 1), ("a", 1), ("b", 1), ("a", 2), ("a", 2), ("b", 2)]
    happened = [went_off(name, step=step) for name, step in reported]
    assert happened == [True, False, True, True, False, False]
    assert len(list(tmp_path.iterdir())) == 3


def test_what_happens(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    arm(monkeypatch, tmp_path, "full:enospc,slow:sleep=0.2,odd:explode")
    with pytest.raises(OSError) as caught:
        fail_at("full")
    assert caught.value.errno == errno.ENOSPC
    started = time.monotonic()
    fail_at("slow")
    assert time.monotonic() - started >= 0.2
    with pytest.raises(AssertionError, match="unknown failpoint action 'explode'"):
        fail_at("odd")


def test_a_killed_process_is_not_killed_again(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    arm(monkeypatch, tmp_path, "before_step:step=8:rank=1:SIGKILL")
    code = "from trainers.process.failpoints import fail_at; fail_at('before_step', step=8, rank=1)"
    codes = [subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode for _ in range(2)]
    assert codes == [-signal.SIGKILL, 0]
