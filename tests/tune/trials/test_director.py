"""What runs next, from the ledger alone: no leg twice, the same decisions in any order."""

import random
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from datasets_src.types import Score
from tests.tune.conftest import SweepOf
from trainers.storage.checkpoints import step_name
from trainers.storage.json_files import append_jsonl, read_jsonl
from tune.config import Sweep
from tune.leaderboard.board import read_board
from tune.leaderboard.files import board_json, board_markdown
from tune.trials.director import LEDGER, Director, Task
from tune.trials.trials import Trials

RATES = [3e-3, 1e-3, 3e-4, 1e-4]
SECTION = {
    "learning_rate": RATES,
    "num_train_epochs": [2, 4],
    "searcher": "grid",
    "scheduler": "asha",
    "reduction_factor": 2,
}
COST = {"cpu_s": 1.0, "wall_s": 1.0}


def start(sweep: Sweep, directory: Path) -> Director:
    return Director(sweep, directory, 100, Trials(sweep))


def value_of(task: Task) -> float:
    """A larger rate is better here, and so is a later step."""
    assert task.leg is not None
    rate = task.leg.run.config.train.learning_rate
    return 0.2 * (len(RATES) - RATES.index(rate)) + task.leg.until / 1000


def train(task: Task) -> None:
    """Leave the records that a leg leaves."""
    if task.leg is None:
        return
    metric, step = "execution_accuracy", task.leg.until
    row = Score(
        name=step_name(step),
        step=step,
        n=10,
        metric=metric,
        metrics={metric: value_of(task)},
        intervals={metric: (0.0, 1.0)},
        predictions=f"predictions/{step_name(step)}.jsonl",
        seconds=1.0,
        num_groups=10,
    )
    run_dir = task.leg.run.directory
    append_jsonl(run_dir / "scores.jsonl", asdict(row))
    append_jsonl(run_dir / "metrics.jsonl", {"step": step, "epoch": step / 7, "step_time_s": 1.0})
    answer = {"id": "1", "group": "1", "scores": {metric: value_of(task)}}
    append_jsonl(run_dir / row.predictions, answer)


def drive(director: Director, *, seed: int = 0, most: int = 1, legs: int = 10**6) -> Director:
    """Do what it asks for, up to `most` at a time, ending in a random order."""
    rng, at_work = random.Random(seed), list[Task]()
    while legs and not director.done:
        while len(at_work) < most and (task := director.next_task()) is not None:
            director.begin(task)
            at_work.append(task)
        task = at_work.pop(rng.randrange(len(at_work)))
        train(task)
        director.end(task, COST)
        director.note_decisions()
        legs -= 1
    return director


def judged(directory: Path) -> set[tuple[int, int, bool]]:
    rows = read_jsonl(directory / LEDGER)
    return {(r["line"], r["rung"], r["goes_on"]) for r in rows if r["event"] == "judged"}


def began(directory: Path) -> list[tuple[str, int]]:
    return [(r["run"], r["until"]) for r in read_jsonl(directory / LEDGER) if r["event"] == "began"]


def board_of(director: Director) -> dict[str, Any]:
    return board_json(read_board(director, num_threads=1))


def test_lines_are_trained_leg_by_leg_and_the_worse_ones_stop(
    sweep_of: SweepOf, tmp_path: Path
) -> None:
    director = drive(start(sweep_of(SECTION), tmp_path))
    states = [director.standing(line).state for line in director.lines]
    assert states == ["finished", "stopped", "stopped", "stopped"]
    assert [director.standing(line).rung for line in director.lines[1:]] == [1, 1, 1]
    assert len(began(tmp_path)) == 1 + 3 + 3, "the base; three legs of one line; one of the others"
    told = board_of(director)
    assert told["best"]["trial"] == 1 and told["best"]["checkpoint"] == "step-000028"
    assert [(row["trial"], row["state"]) for row in told["trials"]][:3] == [
        (1, "finished"), (0, "finished"), (2, "stopped"),
    ]  # fmt: skip


@pytest.mark.parametrize("most", [1, 2, 4])
@pytest.mark.parametrize("scheduler", ["asha", "median", "none"])
def test_any_order_of_ends_gives_the_same_board(
    sweep_of: SweepOf, tmp_path: Path, most: int, scheduler: str
) -> None:
    sweep = sweep_of(SECTION | {"scheduler": scheduler})
    boards, decisions = [], []
    for seed in range(5):
        directory = tmp_path / str(seed)
        boards.append(board_of(drive(start(sweep, directory), seed=seed, most=most)))
        decisions.append(judged(directory))
    assert all(board == boards[0] for board in boards)
    assert all(decision == decisions[0] for decision in decisions)


@pytest.mark.parametrize("stops", [[1, 2, 3], [0, 5, 1]])
def test_killed_and_started_again_nothing_is_done_twice(
    sweep_of: SweepOf, tmp_path: Path, stops: list[int]
) -> None:
    sweep = sweep_of(SECTION)
    plain = drive(start(sweep, tmp_path / "plain"))
    for legs in stops:
        director = drive(start(sweep, tmp_path / "killed"), legs=legs)
        if (task := director.next_task()) is not None:  # begun, and killed in it
            director.begin(task)
        with (tmp_path / "killed" / LEDGER).open("a") as file:
            file.write('{"event": "ended", "run"')
    again = drive(start(sweep, tmp_path / "killed"))
    ours, theirs = board_of(again), board_of(plain)
    assert ours == theirs
    assert judged(tmp_path / "killed") == judged(tmp_path / "plain")
    rows = list(read_jsonl(tmp_path / "killed" / LEDGER))
    ended = [(row["run"], row["until"]) for row in rows if row["event"] == "ended"]
    assert len(ended) == len(set(ended)) == len(plain.ended)


@pytest.mark.parametrize("final", [True, False])
def test_a_failed_trial_stops_no_other_and_is_tried_again_if_it_may_pass(
    sweep_of: SweepOf, tmp_path: Path, final: bool
) -> None:
    sweep = sweep_of(SECTION)
    director = start(sweep, tmp_path)
    bad = director.lines[0].legs[0].run.key
    while not director.done:
        task = director.next_task()
        assert task is not None
        director.begin(task)
        if task.name == bad:
            director.fail(task, "loss nan", final=final)
        else:
            train(task)
            director.end(task, COST)
    assert [director.standing(line).state for line in director.lines] == [
        "failed", "finished", "stopped", "stopped",
    ]  # fmt: skip
    failed = [row for row in board_of(director)["trials"] if row["state"] == "failed"]
    assert [row["reason"] for row in failed] == ["loss nan"] * 2
    again = start(sweep, tmp_path)
    assert again.done == final
    if not final:
        assert drive(again).standing(again.lines[0]).state == "finished"


def test_more_samples_are_added_to_a_sweep_that_has_ended(
    sweep_of: SweepOf, tmp_path: Path
) -> None:
    section = {"learning_rate": RATES, "seed": {"min": 1, "max": 10**6}, "scheduler": "none"}
    drive(start(sweep_of(section | {"num_samples": 2}), tmp_path))
    before = began(tmp_path)
    more = drive(start(sweep_of(section | {"num_samples": 3}), tmp_path))
    assert len(more.lines) == 3 and began(tmp_path)[: len(before)] == before
    assert len(began(tmp_path)) == len(before) + 1


def test_optuna_is_asked_again_when_all_it_asked_for_has_ended(
    sweep_of: SweepOf, tmp_path: Path
) -> None:
    section = {"learning_rate": RATES, "seed": {"min": 1, "max": 10**6}, "scheduler": "none"}
    sweep = sweep_of(section | {"searcher": "optuna", "num_samples": 6})
    plain = drive(start(sweep, tmp_path / "plain"), most=3)
    assert len(plain.lines) == 6
    drive(start(sweep, tmp_path / "killed"), legs=3, seed=3)
    again = drive(start(sweep, tmp_path / "killed"), most=2, seed=5)
    assert board_of(again)["trials"] == board_of(plain)["trials"]


POPULATION = {
    "learning_rate": [3e-3, 1e-3, 3e-4, 1e-4],
    "searcher": "grid",
    "scheduler": "pbt",
    "reduction_factor": 2,
}


@pytest.mark.parametrize("most", [1, 3])
def test_children_go_on_from_the_best_at_other_rates(
    sweep_of: SweepOf, tmp_path: Path, most: int
) -> None:
    director = drive(start(sweep_of(POPULATION, num_train_epochs=3), tmp_path), seed=1, most=most)
    states = [director.standing(line).state for line in director.lines]
    assert states == ["finished", *["stopped"] * 3, "finished", "stopped", *["finished"] * 2]
    parents = [director.lines[0], director.lines[1]]
    for line, parent in zip(director.lines[4:6], parents, strict=True):
        first, train = line.legs[0], line.trials[0].config.train
        assert first.start == (parent.legs[0].run, 7) and first.until == 14
        assert train.learning_rate == parent.trials[0].config.train.learning_rate
        assert train.step_rules in ("1:7,0.8", "1:7,1.2")
    assert [leg.until for leg in director.lines[6].legs] == [21], "a child of the last generation"
    told = {row["trial"]: row["values"] for row in board_of(director)["trials"]}
    assert told[4].keys() == {
        "train.learning_rate", "train.lr_scheduler_type", "train.step_rules",
    }  # fmt: skip
    assert "| step_rules |" in board_markdown(read_board(director, num_threads=1))


def test_a_population_taken_up_again_is_the_same(sweep_of: SweepOf, tmp_path: Path) -> None:
    sweep = sweep_of(POPULATION, num_train_epochs=4)
    plain = board_of(drive(start(sweep, tmp_path / "plain")))
    director = start(sweep, tmp_path / "cut")
    for legs in (3, 4, 5, 2):
        director = start(sweep, tmp_path / "cut")
        drive(director, seed=legs, most=2, legs=legs)
    again = board_of(drive(start(sweep, tmp_path / "cut")))
    assert again["trials"] == plain["trials"]
    assert judged(tmp_path / "cut") == judged(tmp_path / "plain")


def test_a_checkpoint_that_a_child_began_with_is_no_second_best(
    sweep_of: SweepOf, tmp_path: Path
) -> None:
    director = drive(start(sweep_of(POPULATION, num_train_epochs=3), tmp_path))
    parent, child = director.lines[4].legs[0].run, director.lines[7].legs[0].run
    assert director.lines[7].legs[0].start == (parent, 14)
    for run in (parent, child):  # as begin_with takes them over
        rows = list(read_jsonl(parent.directory / "scores.jsonl"))
        row = next(r for r in rows if r["step"] == 14) | {"metrics": {"execution_accuracy": 0.99}}
        append_jsonl(run.directory / "scores.jsonl", row)
        answer = {"id": "1", "group": "1", "scores": {"execution_accuracy": 0.99}}
        append_jsonl(run.directory / row["predictions"], answer)
        step = {"step": 14, "epoch": 2.0, "step_time_s": 1.0}
        append_jsonl(run.directory / "metrics.jsonl", step)
    board = read_board(director, num_threads=1)
    assert [entry.trial.number for entry in board.entries[:2]] == [4, 7]
    assert board.entries[1].trained_by == parent.key
    assert [name.split()[1] for name in board.tests] == ["0"], "the best of another run"


def test_a_generation_that_was_judged_without_a_line_stays_as_it_is(
    sweep_of: SweepOf, tmp_path: Path
) -> None:
    """Its process died again and again: under pbt it is not tried at another start."""
    director = start(sweep_of(POPULATION, num_train_epochs=3, eval_on_start=False), tmp_path)
    director = drive(director, legs=3)
    task = director.next_task()
    assert task is not None and task.line is director.lines[3]
    director.begin(task)
    director.fail(task, "its process died", final=False)
    plain = board_of(drive(director))
    again = start(director.sweep, tmp_path)
    assert again.done and board_of(again) == plain
    assert (
        len(again.lines) == len(director.lines) and again.standing(again.lines[3]).state == "failed"
    )
