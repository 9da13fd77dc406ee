"""What the end of a leg leads to: the next one, another try, a failed trial, or the sweep's end."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from ray.tune.search import Searcher

from datasets_src.errors import UserError
from tests.tune.conftest import SweepOf
from tests.tune.trials.test_director import SECTION, start, train
from trainers.supervision.protocol import WorkerError
from tune.resources.room import Room
from tune.runner import Legs
from tune.trials.director import Director, Work

ALONE = SECTION | {"learning_rate": [3e-3, 1e-3], "num_train_epochs": [2], "scheduler": "none"}


@pytest.fixture
def director(sweep_of: SweepOf, tmp_path: Path) -> Director:
    return start(sweep_of(ALONE, eval_on_start=False), tmp_path)


def legs_of(director: Director, *, num_trials: int = 1) -> Legs:
    work = Work(director.directory, "d" * 64, {}, num_threads=1, num_trials=num_trials)
    legs = Legs(director, work, Room(None, 1))
    legs.say = lambda line: None
    return legs


def ended(*, fault: WorkerError | None = None, left: bool = False) -> dict[str, str]:
    told: dict[str, Any] = {"left": left, "fault": fault and asdict(fault), "cpu_s": 1, "wall_s": 1}
    return {"ending": json.dumps(told)}


def fault(kind: str, *, signature: str = "s") -> WorkerError:
    return WorkerError(0, kind, "it broke", "Traceback …", signature)


def run_of(told: Any) -> str:
    return str(json.loads(told["told"])["config"]["run_name"])


def finish(legs: Legs, director: Director, id: str) -> None:
    [task] = director.running.values()
    train(task)
    legs.on_trial_complete(id, ended())


def test_legs_are_given_one_after_the_other_until_all_have_ended(director: Director) -> None:
    legs, runs = legs_of(director), []
    for id in ("a", "b"):
        runs.append(run_of(legs.suggest(id)))
        assert legs.suggest("more") is None, "one at a time"
        finish(legs, director, id)
    assert runs == [line.legs[0].run.key for line in director.lines]
    assert legs.suggest("c") == Searcher.FINISHED and legs.fatal is None


def test_a_dead_process_and_an_order_to_leave_begin_again(director: Director) -> None:
    legs = legs_of(director)
    first = run_of(legs.suggest("a"))
    legs.on_trial_complete("a", error=True)
    assert run_of(legs.suggest("b")) == first
    legs.on_trial_complete("b", ended(left=True))
    assert run_of(legs.suggest("c")) == first and not director.failed


def test_a_users_fault_fails_the_trial_at_once_and_the_next_goes_on(director: Director) -> None:
    legs = legs_of(director)
    first = run_of(legs.suggest("a"))
    legs.on_trial_complete("a", ended(fault=fault("user")))
    assert director.failed == {first: "it broke"}
    assert run_of(legs.suggest("b")) != first
    again = start(director.sweep, director.directory)
    assert again.failed.keys() == {first}, "nor is it tried at another start"


def test_the_same_exception_twice_fails_the_trial_until_another_start(director: Director) -> None:
    legs = legs_of(director)
    first = run_of(legs.suggest("a"))
    legs.on_trial_complete("a", ended(fault=fault("error")))
    assert run_of(legs.suggest("b")) == first
    legs.on_trial_complete("b", ended(fault=fault("error")))
    assert "failed twice with the same exception" in director.failed[first]
    assert not start(director.sweep, director.directory).failed


def test_a_full_disk_ends_the_sweep(director: Director) -> None:
    legs = legs_of(director)
    legs.suggest("a")
    legs.on_trial_complete("a", ended(fault=fault("storage")))
    assert isinstance(legs.fatal, UserError) and "is full" in str(legs.fatal)
    assert legs.suggest("b") == Searcher.FINISHED and not director.failed
