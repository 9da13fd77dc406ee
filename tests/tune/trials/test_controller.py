"""What runs next, from the ledger alone: no segment twice, the same decisions in any order."""

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
from tune.leaderboard.board import read_leaderboard
from tune.leaderboard.files import leaderboard_json, leaderboard_markdown
from tune.trials.controller import LEDGER, SweepController, Task
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


def start(sweep: Sweep, directory: Path) -> SweepController:
    return SweepController(sweep, directory, 100, Trials(sweep))


def value_of(task: Task) -> float:
    """The score here: larger rates and later steps are better."""
    assert task.segment is not None
    rate = task.segment.run.config.train.learning_rate
    return 0.2 * (len(RATES) - RATES.index(rate)) + task.segment.until / 1000


def train(task: Task) -> None:
    """Write the records that a segment writes."""
    if task.segment is None:
        return
    metric, step = "execution_accuracy", task.segment.until
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
    run_dir = task.segment.run.directory
    append_jsonl(run_dir / "scores.jsonl", asdict(row))
    append_jsonl(run_dir / "metrics.jsonl", {"step": step, "epoch": step / 7, "step_time_s": 1.0})
    answer = {"id": "1", "group": "1", "scores": {metric: value_of(task)}}
    append_jsonl(run_dir / row.predictions, answer)


def drive(
    controller: SweepController, *, seed: int = 0, most: int = 1, segments: int = 10**6
) -> SweepController:
    """Run its tasks, up to `most` at a time, ending in a random order."""
    rng, running = random.Random(seed), list[Task]()
    while segments and not controller.done:
        while len(running) < most and (task := controller.next_task()) is not None:
            controller.begin(task)
            running.append(task)
        task = running.pop(rng.randrange(len(running)))
        train(task)
        controller.end(task, COST)
        controller.record_decisions()
        segments -= 1
    return controller


def judged(directory: Path) -> set[tuple[int, int, bool]]:
    rows = read_jsonl(directory / LEDGER)
    return {(r["line"], r["rung"], r["goes_on"]) for r in rows if r["event"] == "judged"}


def began(directory: Path) -> list[tuple[str, int]]:
    return [(r["run"], r["until"]) for r in read_jsonl(directory / LEDGER) if r["event"] == "began"]


def board_of(controller: SweepController) -> dict[str, Any]:
    return leaderboard_json(read_leaderboard(controller, num_threads=1))


def test_groups_are_trained_segment_by_segment_and_the_worse_ones_stop(
    sweep_of: SweepOf, tmp_path: Path
) -> None:
    controller = drive(start(sweep_of(SECTION), tmp_path))
    states = [controller.status(group).state for group in controller.groups]
    assert states == ["finished", "stopped", "stopped", "stopped"]
    assert [controller.status(group).rung for group in controller.groups[1:]] == [1, 1, 1]
    assert len(began(tmp_path)) == 1 + 3 + 3, "baselines, 3 segments of one group, 1 of the others"
    board = board_of(controller)
    assert board["best"]["trial"] == 1 and board["best"]["checkpoint"] == "step-000028"
    assert [(row["trial"], row["state"]) for row in board["trials"]][:3] == [
        (1, "finished"), (0, "finished"), (2, "stopped"),
    ]  # fmt: skip


@pytest.mark.parametrize("most", [1, 2, 4])
@pytest.mark.parametrize("scheduler", ["asha", "median", "none"])
def test_any_order_of_ends_gives_the_same_leaderboard(
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
def test_after_a_kill_and_a_restart_nothing_is_done_twice(
    sweep_of: SweepOf, tmp_path: Path, stops: list[int]
) -> None:
    sweep = sweep_of(SECTION)
    plain = drive(start(sweep, tmp_path / "plain"))
    for segments in stops:
        controller = drive(start(sweep, tmp_path / "killed"), segments=segments)
        if (task := controller.next_task()) is not None:  # killed while it runs
            controller.begin(task)
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
def test_a_failed_trial_stops_no_other_and_is_retried_unless_the_failure_is_final(
    sweep_of: SweepOf, tmp_path: Path, final: bool
) -> None:
    sweep = sweep_of(SECTION)
    controller = start(sweep, tmp_path)
    bad = controller.groups[0].segments[0].run.key
    while not controller.done:
        task = controller.next_task()
        assert task is not None
        controller.begin(task)
        if task.name == bad:
            controller.fail(task, "loss nan", final=final)
        else:
            train(task)
            controller.end(task, COST)
    assert [controller.status(group).state for group in controller.groups] == [
        "failed", "finished", "stopped", "stopped",
    ]  # fmt: skip
    failed = [row for row in board_of(controller)["trials"] if row["state"] == "failed"]
    assert [row["reason"] for row in failed] == ["loss nan"] * 2
    again = start(sweep, tmp_path)
    assert again.done == final
    if not final:
        assert drive(again).status(again.groups[0]).state == "finished"


def test_more_samples_are_added_to_a_sweep_that_has_ended(
    sweep_of: SweepOf, tmp_path: Path
) -> None:
    section = {"learning_rate": RATES, "seed": {"min": 1, "max": 10**6}, "scheduler": "none"}
    drive(start(sweep_of(section | {"num_samples": 2}), tmp_path))
    before = began(tmp_path)
    more = drive(start(sweep_of(section | {"num_samples": 3}), tmp_path))
    assert len(more.groups) == 3 and began(tmp_path)[: len(before)] == before
    assert len(began(tmp_path)) == len(before) + 1


def test_optuna_draws_again_when_a_batch_has_ended(sweep_of: SweepOf, tmp_path: Path) -> None:
    section = {"learning_rate": RATES, "seed": {"min": 1, "max": 10**6}, "scheduler": "none"}
    sweep = sweep_of(section | {"searcher": "optuna", "num_samples": 6})
    plain = drive(start(sweep, tmp_path / "plain"), most=3)
    assert len(plain.groups) == 6
    drive(start(sweep, tmp_path / "killed"), segments=3, seed=3)
    again = drive(start(sweep, tmp_path / "killed"), most=2, seed=5)
    assert board_of(again)["trials"] == board_of(plain)["trials"]


POPULATION = {
    "learning_rate": [3e-3, 1e-3, 3e-4, 1e-4],
    "searcher": "grid",
    "scheduler": "pbt",
    "reduction_factor": 2,
}


@pytest.mark.parametrize("most", [1, 3])
def test_children_branch_from_the_best_at_other_rates(
    sweep_of: SweepOf, tmp_path: Path, most: int
) -> None:
    controller = drive(start(sweep_of(POPULATION, num_train_epochs=3), tmp_path), seed=1, most=most)
    states = [controller.status(group).state for group in controller.groups]
    assert states == ["finished", *["stopped"] * 3, "finished", "stopped", *["finished"] * 2]
    parents = [controller.groups[0], controller.groups[1]]
    for group, parent in zip(controller.groups[4:6], parents, strict=True):
        first, train = group.segments[0], group.trials[0].config.train
        assert first.parent == (parent.segments[0].run, 7) and first.until == 14
        assert train.learning_rate == parent.trials[0].config.train.learning_rate
        assert train.step_rules in ("1:7,0.8", "1:7,1.2")
    assert [segment.until for segment in controller.groups[6].segments] == [21], (
        "a child of the last generation"
    )
    values = {row["trial"]: row["values"] for row in board_of(controller)["trials"]}
    assert values[4].keys() == {
        "train.learning_rate", "train.lr_scheduler_type", "train.step_rules",
    }  # fmt: skip
    assert "| step_rules |" in leaderboard_markdown(read_leaderboard(controller, num_threads=1))


def test_a_resumed_population_is_the_same(sweep_of: SweepOf, tmp_path: Path) -> None:
    sweep = sweep_of(POPULATION, num_train_epochs=4)
    plain = board_of(drive(start(sweep, tmp_path / "plain")))
    controller = start(sweep, tmp_path / "cut")
    for segments in (3, 4, 5, 2):
        controller = start(sweep, tmp_path / "cut")
        drive(controller, seed=segments, most=2, segments=segments)
    again = board_of(drive(start(sweep, tmp_path / "cut")))
    assert again["trials"] == plain["trials"]
    assert judged(tmp_path / "cut") == judged(tmp_path / "plain")


def test_a_parents_checkpoint_in_its_child_is_not_the_second_best(
    sweep_of: SweepOf, tmp_path: Path
) -> None:
    controller = drive(start(sweep_of(POPULATION, num_train_epochs=3), tmp_path))
    parent, child = controller.groups[4].segments[0].run, controller.groups[7].segments[0].run
    assert controller.groups[7].segments[0].parent == (parent, 14)
    for run in (parent, child):  # as branch_from copies them
        rows = list(read_jsonl(parent.directory / "scores.jsonl"))
        row = next(r for r in rows if r["step"] == 14) | {"metrics": {"execution_accuracy": 0.99}}
        append_jsonl(run.directory / "scores.jsonl", row)
        answer = {"id": "1", "group": "1", "scores": {"execution_accuracy": 0.99}}
        append_jsonl(run.directory / row["predictions"], answer)
        step = {"step": 14, "epoch": 2.0, "step_time_s": 1.0}
        append_jsonl(run.directory / "metrics.jsonl", step)
    board = read_leaderboard(controller, num_threads=1)
    assert [entry.trial.number for entry in board.entries[:2]] == [4, 7]
    assert board.entries[1].trained_by == parent.key
    assert [name.split()[1] for name in board.tests] == ["0"], "the best of another run"


def test_a_generation_that_was_ranked_without_a_group_stays_as_it_is(
    sweep_of: SweepOf, tmp_path: Path
) -> None:
    """Its process died repeatedly: under pbt it is not retried when the sweep is restarted."""
    controller = start(sweep_of(POPULATION, num_train_epochs=3, eval_on_start=False), tmp_path)
    controller = drive(controller, segments=3)
    task = controller.next_task()
    assert task is not None and task.group is controller.groups[3]
    controller.begin(task)
    controller.fail(task, "its process died", final=False)
    plain = board_of(drive(controller))
    again = start(controller.sweep, tmp_path)
    assert again.done and board_of(again) == plain
    assert (
        len(again.groups) == len(controller.groups)
        and again.status(again.groups[3]).state == "failed"
    )
