"""What follows the end of a segment: the next one, a retry, a failed trial, or the sweep's end."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from ray.tune.search import Searcher

from datasets_src.errors import UserError
from tests.tune.conftest import SweepOf
from tests.tune.trials.test_controller import SECTION, start, train
from trainers.supervision.protocol import WorkerError
from tune.resources.quota import DiskQuota
from tune.runner import SegmentSearcher
from tune.trials.controller import SweepContext, SweepController

ALONE = SECTION | {"learning_rate": [3e-3, 1e-3], "num_train_epochs": [2], "scheduler": "none"}


@pytest.fixture
def controller(sweep_of: SweepOf, tmp_path: Path) -> SweepController:
    return start(sweep_of(ALONE, eval_on_start=False), tmp_path)


def searcher_of(controller: SweepController, *, num_trials: int = 1) -> SegmentSearcher:
    context = SweepContext(controller.directory, "d" * 64, {}, num_threads=1, num_trials=num_trials)
    searcher = SegmentSearcher(controller, context, DiskQuota(None, 1))
    searcher.log = lambda line: None
    return searcher


def ended(*, error: WorkerError | None = None, interrupted: bool = False) -> dict[str, str]:
    outcome: dict[str, Any] = {"interrupted": interrupted, "error": error and asdict(error)}
    return {"outcome": json.dumps(outcome | {"cpu_s": 1, "wall_s": 1})}


def error_of_kind(kind: str) -> WorkerError:
    return WorkerError(0, kind, "it broke", "Traceback …", signature="s")


def run_of(suggestion: Any) -> str:
    return str(json.loads(suggestion["task"])["config"]["run_name"])


def finish(searcher: SegmentSearcher, controller: SweepController, id: str) -> None:
    [task] = controller.running.values()
    train(task)
    searcher.on_trial_complete(id, ended())


def test_segments_are_suggested_one_by_one_until_all_have_ended(
    controller: SweepController,
) -> None:
    searcher, runs = searcher_of(controller), []
    for id in ("a", "b"):
        runs.append(run_of(searcher.suggest(id)))
        assert searcher.suggest("more") is None, "one at a time"
        finish(searcher, controller, id)
    assert runs == [group.segments[0].run.key for group in controller.groups]
    assert searcher.suggest("c") == Searcher.FINISHED and searcher.fatal is None


def test_a_dead_process_and_a_commanded_exit_are_retried(controller: SweepController) -> None:
    searcher = searcher_of(controller)
    first = run_of(searcher.suggest("a"))
    searcher.on_trial_complete("a", error=True)
    assert run_of(searcher.suggest("b")) == first
    searcher.on_trial_complete("b", ended(interrupted=True))
    assert run_of(searcher.suggest("c")) == first and not controller.failed


def test_a_user_error_fails_the_trial_at_once_and_the_next_one_runs(
    controller: SweepController,
) -> None:
    searcher = searcher_of(controller)
    first = run_of(searcher.suggest("a"))
    searcher.on_trial_complete("a", ended(error=error_of_kind("user")))
    assert controller.failed == {first: "it broke"}
    assert run_of(searcher.suggest("b")) != first
    again = start(controller.sweep, controller.directory)
    assert again.failed.keys() == {first}, "it is not retried when the sweep is restarted"


def test_the_same_exception_twice_fails_the_trial_until_a_restart(
    controller: SweepController,
) -> None:
    searcher = searcher_of(controller)
    first = run_of(searcher.suggest("a"))
    searcher.on_trial_complete("a", ended(error=error_of_kind("error")))
    assert run_of(searcher.suggest("b")) == first
    searcher.on_trial_complete("b", ended(error=error_of_kind("error")))
    assert "failed twice with the same exception" in controller.failed[first]
    assert not start(controller.sweep, controller.directory).failed


def test_a_full_disk_ends_the_sweep(controller: SweepController) -> None:
    searcher = searcher_of(controller)
    searcher.suggest("a")
    searcher.on_trial_complete("a", ended(error=error_of_kind("storage")))
    assert isinstance(searcher.fatal, UserError) and "is full" in str(searcher.fatal)
    assert searcher.suggest("b") == Searcher.FINISHED and not controller.failed
