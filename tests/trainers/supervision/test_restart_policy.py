"""What follows a failed attempt: another one, or an error with its remedy."""

from pathlib import Path

import pytest
from ray.train import TrainingFailedError
from ray.train.v2.api.exceptions import WorkerGroupError

from datasets_src.errors import UserError
from trainers.config.schema import Config
from trainers.process.signals import RunFailed
from trainers.run.location import RunLocation
from trainers.storage.checkpoints import save_checkpoint
from trainers.storage.json_files import read_jsonl
from trainers.supervision.protocol import WorkerError, WorkerLocation, WorkerStatus
from trainers.supervision.restart_policy import (
    FAULTS,
    AttemptResult,
    RestartPolicy,
    workers_out_of_memory,
)

KILLED = WorkerGroupError("worker 1 died", {1: RuntimeError("the actor died")})


def policy_of(run_dir: Path, max_failures: int) -> RestartPolicy:
    raw = {"run_name": run_dir.name, "output_dir": str(run_dir.parent)}
    config = Config.model_validate(raw | {"data": {"train_file": "x.jsonl"}})
    return RestartPolicy(RunLocation(config), max_failures)


def error_of(
    kind: str = "error", *, rank: int = 1, signature: str = "s1", message: str = ""
) -> WorkerError:
    text = message or f"KeyError: {signature}"
    return WorkerError(rank, kind, text, f"Traceback … {text}", signature)


def failed(*errors: WorkerError, error: BaseException = KILLED, why: str = "why") -> AttemptResult:
    locations = {r: WorkerLocation(r, f"node-{r}", f"host-{r}", pid=10 + r) for r in (0, 1)}
    return AttemptResult(
        "failed", "a1b2c3", why, WorkerStatus(locations=locations, errors=list(errors)), error
    )


def save(run_dir: Path, step: int) -> None:
    save_checkpoint(
        run_dir / "checkpoints",
        step=step,
        attempt="a",
        write=lambda folder: (folder / "weights.bin").touch(),
    )


def test_the_same_traceback_twice_is_not_tried_a_third_time(tmp_path: Path) -> None:
    policy = policy_of(tmp_path, 3)
    policy.check(failed(error_of()), 2)
    with pytest.raises(
        RunFailed,
        match=r"^worker 1 failed twice with the same exception: KeyError: s1; .*faults.jsonl",
    ):
        policy.check(failed(error_of()), 2)
    assert [row["traceback"] for row in read_jsonl(tmp_path / FAULTS)] == [error_of().traceback] * 2


def test_another_fault_or_a_kill_between_them_does_not_hide_it(tmp_path: Path) -> None:
    policy = policy_of(tmp_path, 9)
    policy.check(failed(error_of(signature="s1")), 2)
    policy.check(failed(error_of(signature="s2")), 2)
    policy.check(failed(), 2)
    with pytest.raises(RunFailed, match="twice with the same exception: KeyError: s1"):
        policy.check(failed(error_of(signature="s1")), 2)


def test_the_same_fault_after_a_new_checkpoint_is_another_one(tmp_path: Path) -> None:
    policy = policy_of(tmp_path, 1)
    for step in (5, 10, 15):
        policy.check(failed(error_of()), 2)
        save(tmp_path, step)
    policy.check(failed(error_of()), 2)
    with pytest.raises(RunFailed, match="twice with the same exception"):
        policy.check(failed(error_of()), 2)


def test_a_worker_that_only_lost_another_never_counts_as_the_same(tmp_path: Path) -> None:
    policy, peer = policy_of(tmp_path, 3), error_of("peer", rank=0, signature="gone")
    for _ in range(3):
        policy.check(failed(peer), 2)
    assert [row["traceback"] for row in read_jsonl(tmp_path / FAULTS)] == [None] * 3
    with pytest.raises(RunFailed, match="4 failed attempts since step 0"):
        policy.check(failed(peer), 2)


def test_the_reason_is_found_behind_those_who_lost_a_peer(tmp_path: Path) -> None:
    policy, peer = policy_of(tmp_path, 3), error_of("peer", rank=0, signature="gone")
    policy.check(failed(peer, error_of()), 2)
    with pytest.raises(RunFailed, match="worker 1 failed twice with the same exception"):
        policy.check(failed(peer, error_of()), 2)
    assert [row["rank"] for row in read_jsonl(tmp_path / FAULTS)] == [1, 1]


def test_max_failures_counts_from_the_newest_checkpoint(tmp_path: Path) -> None:
    save(tmp_path, 5)
    policy = policy_of(tmp_path, 2)
    for _ in range(2):
        policy.check(failed(), 2)
    save(tmp_path, 10)
    for _ in range(2):
        policy.check(failed(), 2)
    with pytest.raises(
        RunFailed, match=r"3 failed attempts since step 10 \(scaling.max_failures: 2\); last: why"
    ):
        policy.check(failed(), 2)
    assert [row["checkpoint_step"] for row in read_jsonl(tmp_path / FAULTS)] == [5, 5, 10, 10, 10]


def test_no_failure_is_allowed(tmp_path: Path) -> None:
    with pytest.raises(RunFailed, match="1 failed attempts since step 0"):
        policy_of(tmp_path, 0).check(failed(), 2)


def test_the_users_faults_are_not_tried_again(tmp_path: Path) -> None:
    save(tmp_path, 5)
    with pytest.raises(UserError) as caught:
        policy_of(tmp_path, 3).check(failed(error_of("user", message="data: a\nmodel: b")), 2)
    assert caught.value.faults == ("data: a", "model: b")
    full = error_of("storage", message="OSError: [Errno 28] No space left on device")
    with pytest.raises(
        UserError,
        match=r"^output_dir: .* is full \(OSError: .*; free some.* to resume from step 5$",
    ):
        policy_of(tmp_path, 3).check(failed(full), 2)
    with pytest.raises(UserError, match=r"worker 1 on host-1 ran out of memory; lower train\."):
        policy_of(tmp_path, 3).check(failed(error_of("memory")), 2)
    assert len(list(read_jsonl(tmp_path / FAULTS))) == 3


def test_the_workers_that_ran_out_of_memory_are_named() -> None:
    killed = RuntimeError("Task was killed due to the node running low on memory.")
    by_ray = WorkerGroupError("", {0: RuntimeError("peer"), 1: killed})
    assert workers_out_of_memory(failed(error=by_ray)) == "worker 1 on host-1"
    both = WorkerGroupError("", {0: killed, 1: killed, 7: killed})
    assert (
        workers_out_of_memory(failed(error=both))
        == "worker 0 on host-0, worker 1 on host-1, worker 7"
    )
    assert (
        workers_out_of_memory(failed(error_of("peer", rank=0), error=by_ray))
        == "worker 1 on host-1"
    )
    assert workers_out_of_memory(failed(error=KILLED)) is None
    assert workers_out_of_memory(failed(error=TrainingFailedError("controller"))) is None
    assert workers_out_of_memory(failed(error_of(), error=by_ray)) is None
    assert (
        workers_out_of_memory(failed(error_of("memory", rank=0), error=by_ray))
        == "worker 0 on host-0"
    )
