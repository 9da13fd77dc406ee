"""What a failed attempt leads to: another one, or the end with what to do."""

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
from trainers.supervision.message_board import WorkerError, WorkerLocation, WorkerStatus
from trainers.supervision.restart_policy import FAULTS, AttemptResult, RestartPolicy, out_of_memory

KILLED = WorkerGroupError("worker 1 died", {1: RuntimeError("the actor died")})


def patience_of(run_dir: Path, max_failures: int) -> RestartPolicy:
    raw = {"run_name": run_dir.name, "output_dir": str(run_dir.parent)}
    config = Config.model_validate(raw | {"data": {"train_file": "x.jsonl"}})
    return RestartPolicy(RunLocation(config), max_failures)


def fault(
    kind: str = "error", *, rank: int = 1, signature: str = "s1", message: str = ""
) -> WorkerError:
    told = message or f"KeyError: {signature}"
    return WorkerError(rank, kind, told, f"Traceback … {told}", signature)


def ending(*faults: WorkerError, error: BaseException = KILLED, why: str = "why") -> AttemptResult:
    places = {r: WorkerLocation(r, f"node-{r}", f"host-{r}", pid=10 + r) for r in (0, 1)}
    return AttemptResult(
        "failed", "a1b2c3", why, WorkerStatus(places=places, faults=list(faults)), error
    )


def save(run_dir: Path, step: int) -> None:
    save_checkpoint(
        run_dir / "checkpoints",
        step=step,
        attempt="a",
        write=lambda folder: (folder / "weights.bin").touch(),
    )


def test_the_same_traceback_twice_is_not_tried_a_third_time(tmp_path: Path) -> None:
    patience = patience_of(tmp_path, 3)
    patience.judge(ending(fault()), 2)
    with pytest.raises(
        RunFailed, match=r"^worker 1 failed twice in the same way: KeyError: s1; .*faults.jsonl"
    ):
        patience.judge(ending(fault()), 2)
    assert [row["traceback"] for row in read_jsonl(tmp_path / FAULTS)] == [fault().traceback] * 2


def test_another_fault_or_a_kill_between_them_does_not_hide_it(tmp_path: Path) -> None:
    patience = patience_of(tmp_path, 9)
    patience.judge(ending(fault(signature="s1")), 2)
    patience.judge(ending(fault(signature="s2")), 2)
    patience.judge(ending(), 2)
    with pytest.raises(RunFailed, match="twice in the same way: KeyError: s1"):
        patience.judge(ending(fault(signature="s1")), 2)


def test_the_same_fault_after_a_new_checkpoint_is_another_one(tmp_path: Path) -> None:
    patience = patience_of(tmp_path, 1)
    for step in (5, 10, 15):
        patience.judge(ending(fault()), 2)
        save(tmp_path, step)
    patience.judge(ending(fault()), 2)
    with pytest.raises(RunFailed, match="twice in the same way"):
        patience.judge(ending(fault()), 2)


def test_a_worker_that_only_lost_another_never_counts_as_the_same(tmp_path: Path) -> None:
    patience, peer = patience_of(tmp_path, 3), fault("peer", rank=0, signature="gone")
    for _ in range(3):
        patience.judge(ending(peer), 2)
    assert [row["traceback"] for row in read_jsonl(tmp_path / FAULTS)] == [None] * 3
    with pytest.raises(RunFailed, match="the workers failed 4 times after step 0"):
        patience.judge(ending(peer), 2)


def test_the_reason_is_found_behind_those_who_lost_a_peer(tmp_path: Path) -> None:
    patience, peer = patience_of(tmp_path, 3), fault("peer", rank=0, signature="gone")
    patience.judge(ending(peer, fault()), 2)
    with pytest.raises(RunFailed, match="worker 1 failed twice in the same way"):
        patience.judge(ending(peer, fault()), 2)
    assert [row["rank"] for row in read_jsonl(tmp_path / FAULTS)] == [1, 1]


def test_max_failures_counts_from_the_newest_checkpoint(tmp_path: Path) -> None:
    save(tmp_path, 5)
    patience = patience_of(tmp_path, 2)
    for _ in range(2):
        patience.judge(ending(), 2)
    save(tmp_path, 10)
    for _ in range(2):
        patience.judge(ending(), 2)
    with pytest.raises(
        RunFailed, match=r"failed 3 times after step 10 \(scaling.max_failures: 2\); last: why"
    ):
        patience.judge(ending(), 2)
    assert [row["checkpoint_step"] for row in read_jsonl(tmp_path / FAULTS)] == [5, 5, 10, 10, 10]


def test_no_failure_is_allowed(tmp_path: Path) -> None:
    with pytest.raises(RunFailed, match="failed 1 times after step 0"):
        patience_of(tmp_path, 0).judge(ending(), 2)


def test_the_users_faults_are_not_tried_again(tmp_path: Path) -> None:
    save(tmp_path, 5)
    with pytest.raises(UserError) as caught:
        patience_of(tmp_path, 3).judge(ending(fault("user", message="data: a\nmodel: b")), 2)
    assert caught.value.faults == ("data: a", "model: b")
    full = fault("storage", message="OSError: [Errno 28] No space left on device")
    with pytest.raises(
        UserError, match=r"^output_dir: .* is full \(OSError: .*; free some.* after step 5$"
    ):
        patience_of(tmp_path, 3).judge(ending(full), 2)
    with pytest.raises(UserError, match=r"worker 1 on host-1 ran out of memory; lower train\."):
        patience_of(tmp_path, 3).judge(ending(fault("memory")), 2)
    assert len(list(read_jsonl(tmp_path / FAULTS))) == 3


def test_who_ran_out_of_memory() -> None:
    killed = RuntimeError("Task was killed due to the node running low on memory.")
    by_ray = WorkerGroupError("", {0: RuntimeError("peer"), 1: killed})
    assert out_of_memory(ending(error=by_ray)) == "worker 1 on host-1"
    both = WorkerGroupError("", {0: killed, 1: killed, 7: killed})
    assert out_of_memory(ending(error=both)) == "worker 0 on host-0, worker 1 on host-1, worker 7"
    assert out_of_memory(ending(fault("peer", rank=0), error=by_ray)) == "worker 1 on host-1"
    assert out_of_memory(ending(error=KILLED)) is None
    assert out_of_memory(ending(error=TrainingFailedError("controller"))) is None
    assert out_of_memory(ending(fault(), error=by_ray)) is None
    assert out_of_memory(ending(fault("memory", rank=0), error=by_ray)) == "worker 0 on host-0"
